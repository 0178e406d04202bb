# Runs a program inside the sandbox. Reads it from descriptor 3. Either runs it once, for what it prints; or loads it and then
# does what the examiner asks over standard input and descriptor 4. Of the tests it is told nothing but the calls.
import builtins, json, os, sys, types


def main():
    with open(3) as file:
        task = json.load(file)
    # Named by site, which is not loaded; programs use them.
    builtins.exit = builtins.quit = sys.exit
    program = None
    for text in task["programs"]:
        try:
            program = compile(text, "program.py", "exec")
            break
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            continue
    if program is None:
        print("the program is not Python", file=sys.stderr)
        os._exit(1)
    if not task["examined"]:
        exec(program, {"__name__": "__main__", "__builtins__": builtins})
        return
    line, nothing, end = os.dup(0), *os.pipe()
    os.close(end)
    os.dup2(nothing, 0)
    module = types.ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(program, module.__dict__)
    except BaseException as error:
        print("the program fails:", repr(error)[:1000], file=sys.stderr)
        os._exit(1)

    def named(name):
        if name not in module.__dict__:
            raise NameError(name)
        return module.__dict__[name]

    peer = Peer(line, 4, ABOUT, {"name": named, "ready": lambda: True})
    while True:
        peer.answer(*peer.receive())


main()
