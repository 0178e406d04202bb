# Runs a program, and its tests one after the other, inside the sandbox. Reads the task from descriptor 3. Tells on
# descriptor 4 which test begins (?), which has passed (+), and the end (.), each after a word the program is not told.
import builtins, json, os, sys, types


def main(write=os.write, leave=os._exit, run=exec, translate=compile):
    with open(3) as file:
        task = json.load(file)
    # Named by site, which is not loaded; programs use them.
    builtins.exit = builtins.quit = sys.exit
    program = None
    for text in task["programs"]:
        try:
            program = translate(text, "program.py", "exec")
            break
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            continue
    if program is None:
        print("the program is not Python", file=sys.stderr)
        leave(1)
    if task["tests"] is None:
        run(program, {"__name__": "__main__", "__builtins__": builtins})
        return
    module = types.ModuleType("program")
    sys.modules["program"] = module
    word = task["word"]
    try:
        run(program, module.__dict__)
    except BaseException as error:
        print("the program fails:", repr(error)[:1000], file=sys.stderr)
        leave(1)
    for number, test in task["tests"]:
        write(4, b"%s?%d\n" % (word.encode(), number))
        try:
            run(translate(test, "test.py", "exec"), module.__dict__)
        except BaseException:
            continue
        write(4, b"%s+%d\n" % (word.encode(), number))
    write(4, b"%s.\n" % word.encode())
    leave(0)


main()
