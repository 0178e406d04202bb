# One end of the line between the process that runs a program and the process that examines it. Messages are lines of JSON;
# values travel as data, never as code: what arrives is numbers, texts and containers of Python's own, or a number that
# stands for an object that stays where it is. So an object that claims to equal everything equals nothing over there.
import builtins, json, os, sys
from collections import deque
from itertools import islice

CONTAINERS = (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset), ("deque", deque))
KINDS = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range)
MOST = 1 << 20  # values of an iterator that are sent; it may have no end
getattr(sys, "set_int_max_str_digits", lambda digits: None)(0)


class Remote:
    """An object of the other process. Only its own kind can say what it equals; to everything else it is different."""

    def __init__(self, peer, number):
        self.__dict__.update(_peer=peer, _number=number)

    def _ask(self, what, *rest, **named):
        return self._peer.ask(what, self._number, *rest, **named)

    def __call__(self, *arguments, **named):
        return self._peer.ask("call", self._number, *arguments, **named)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("attribute", name)

    def __setattr__(self, name, value):
        self._ask("assign", name, value)

    def __getitem__(self, key):
        return self._ask("item", key)

    def __setitem__(self, key, value):
        self._ask("put", key, value)

    def __iter__(self):
        return iter(self._ask("iterate"))

    def __len__(self):
        return self._ask("length")

    def __bool__(self):
        return bool(self._ask("truth"))

    def __str__(self):
        return str(self._ask("text"))

    def __repr__(self):
        return str(self._ask("shown"))

    def __eq__(self, other):
        return isinstance(other, Remote) and (self._number == other._number or self._ask("equal", other) is True)

    def __hash__(self):
        return self._number


# What may be asked about an object that was handed over.
ABOUT = {
    "call": lambda it, *arguments, **named: it(*arguments, **named),
    "attribute": getattr,
    "assign": setattr,
    "item": lambda it, key: it[key],
    "put": lambda it, key, value: it.__setitem__(key, value),
    "iterate": lambda it: iter(it),
    "length": len,
    "truth": bool,
    "text": str,
    "shown": repr,
    "equal": lambda it, other: bool(it == other),
}


class Peer:
    """`about` is what may be asked about objects that were handed over, `more` what else may be asked."""

    def __init__(self, source, sink, about, more={}):
        self.source, self.sink = os.fdopen(source, "rb"), os.fdopen(sink, "wb")
        self.about, self.more = about, more
        self.given, self.numbers = [], {}

    def encode(self, value):
        if value is None or type(value) in (bool, int, float, str):
            return value
        for name, kind in CONTAINERS:
            if isinstance(value, kind):
                return [name, [self.encode(item) for item in value]]
        if isinstance(value, dict):
            return ["dict", [[self.encode(key), self.encode(item)] for key, item in value.items()]]
        if isinstance(value, (bytes, bytearray)):
            return [type(value).__name__, bytes(value).hex()]
        if isinstance(value, complex):
            return ["complex", value.real, value.imag]
        if isinstance(value, range):
            return ["range", value.start, value.stop, value.step]
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        if type(value).__module__ in ("fractions", "decimal") and type(value).__name__ in ("Fraction", "Decimal"):
            return [type(value).__name__, str(value)]
        if isinstance(value, Remote):
            return ["yours", value._number]
        if any(value is kind for kind in KINDS):
            return ["kind", value.__name__]
        if hasattr(value, "__next__") and hasattr(value, "__iter__"):
            return ["iterator", [self.encode(item) for item in islice(value, MOST)]]
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.given)
            self.given.append(value)
        return ["object", self.numbers[id(value)]]

    def decode(self, sent):
        if not isinstance(sent, list):
            return sent
        kind, first = sent[0], sent[1]
        for name, container in CONTAINERS:
            if kind == name:
                return container([self.decode(item) for item in first])
        if kind == "dict":
            return {self.decode(key): self.decode(item) for key, item in first}
        if kind == "iterator":
            return iter([self.decode(item) for item in first])
        if kind in ("bytes", "bytearray"):
            return getattr(builtins, kind).fromhex(first)
        if kind == "complex":
            return complex(first, sent[2])
        if kind == "range":
            return range(first, sent[2], sent[3])
        if kind == "Fraction":
            from fractions import Fraction
            return Fraction(first)
        if kind == "Decimal":
            from decimal import Decimal
            return Decimal(first)
        if kind == "kind":
            return next(known for known in KINDS if known.__name__ == first)
        if kind == "yours":
            return self.given[first]
        return Remote(self, int(first))

    def send(self, message):
        self.sink.write(message.encode() + b"\n")
        self.sink.flush()

    def receive(self):
        line = self.source.readline()
        if not line:
            os._exit(1)  # the other end is gone
        return json.loads(line)

    def ask(self, what, *arguments, **named):
        """Has the other process do something, and meanwhile does what it asks for."""
        sent = [self.encode(argument) for argument in arguments]
        self.send(json.dumps([what, sent, {name: self.encode(value) for name, value in named.items()}]))
        while True:
            reply = self.receive()
            if reply[0] == "return":
                for place, new in reply[2]:
                    change(arguments[place], self.decode(new))
                return self.decode(reply[1])
            if reply[0] == "raise":
                kind = getattr(builtins, reply[1], None)
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    kind = RuntimeError
                try:
                    error = kind(str(reply[2]))
                except TypeError:
                    error = RuntimeError(str(reply[2]))
                raise error
            self.answer(*reply)

    def answer(self, what, sent, named):
        try:
            arguments = [self.decode(argument) for argument in sent]
            named = {name: self.decode(value) for name, value in named.items()}
            if what in self.more:
                value = self.more[what](*arguments)
            else:
                arguments[0] = self.given[arguments[0]]
                value = self.about[what](*arguments, **named)
            # A program may change what it is given, and its caller sees that.
            now = [(place, self.encode(it)) for place, it in enumerate(arguments) if type(it) in (list, dict, set, bytearray)]
            changed = [[place, new] for place, new in now if new != sent[place]]
            reply = json.dumps(["return", self.encode(value), changed])
        except BaseException as error:
            reply = json.dumps(["raise", type(error).__name__, str(error)[:1000]])
        self.send(reply)


def change(old, new):
    if type(old) is not type(new):
        return
    if isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)
