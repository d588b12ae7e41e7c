"""The same random commands go to sluice and to redis-server, and the replies are compared byte for
byte. On a difference the shortest tail of commands that still shows it is printed.

What is not compared exactly, and why:
- KEYS, SCAN, RANDOMKEY: the order is each server's own (compared as sets over whole iterations).
- TTL, PTTL, EXPIRETIME and PEXPIRETIME of a relative expiry: two clocks (a tolerance).
- DBSIZE right after a key's expiry: may count it (KEYS is asked before, which looks at every key).
- MEMORY USAGE, OBJECT IDLETIME: figures of one implementation (compared by kind).
- After a refused SELECT sluice refuses data commands on purpose (the next command selects again,
  and refused SELECTs stay out of transactions).
- What sluice does not have on purpose: lists, hashes, sets, streams, bits, scripts, publish and
  subscribe, DUMP, SORT, WAIT, replication (never sent).
"""

import time

import pytest

import resp
import targets

KEYS = [b"a", b"b", b"c", b"d", b"n", b"m", b"f", b"key:1", b"key:2", b"key:10", b"", b"\0\xff\r\n",
        "ключ".encode(), b"{x}[y]*?", b"k" * 300, b"with space"]
NUMBERS = [b"0", b"1", b"-1", b"5", b"41", b"-100", b"9223372036854775807", b"-9223372036854775808",
           b"9223372036854775806", b"1000000007"]
BAD_NUMBERS = [b"", b"x", b" 1", b"1 ", b"+1", b"01", b"-0", b"1.5", b"1e3", b"0x10",
               b"9223372036854775808", b"-9223372036854775809", b"99999999999999999999999", b"--1"]
FLOATS = [b"0.1", b"0.2", b"-0.3", b"5.0e3", b"200", b"1e-5", b"3.14", b"-0", b"1e17",
          b"123456789.5", b"0.00000000000000001", b"1e308", b"-2.5e10", b"17179869184", b".5",
          b"5."]
BAD_FLOATS = [b"nan", b"inf", b"-inf", b"infinity", b"x", b"", b" 1.5", b"1.5 ", b"1,5", b"1e5000"]
TEXTS = [b"", b"hello", b"\0\1\2\xff", b'{"a": 1}', b'{"a":1}', b"x" * 43, b"y" * 45, b"z" * 1000,
         b"\r\n", b"+OK\r\n", "ünïcode".encode(), b"true", b"null", b"[1,2]"]
PATTERNS = [b"*", b"a", b"k*", b"key:?", b"key:[0-9]", b"key:[^1]", b"[a-c]", b"[c-a]", b"[^a-c]",
            b"\\*", b"*\\**", b"{x}\\[y\\]*", b"[", b"[a", b"*[", b"k**********k", b"?", b"??", b"",
            b"\xff*", b"*\n", b"[\\]]", b"[a-", b"key:1*0", b"\\", b"*[0-9]*"]
DATABASES = [b"0", b"1", b"2", b"9999"]
BAD_DATABASES = [b"-1", b"x", b"", b"99999999999", b"1.0", b" 1"]
FAR = 4_000_000_000  # seconds since 1970: the year 2096


class Generator:
    """Random commands that know just enough of the state to stay comparable."""

    def __init__(self, rng):
        self.rng = rng
        self.serial = 0
        self.in_multi = [False, False]
        self.must_select = [False, False]

    # -- words

    def key(self):
        return self.rng.choice(KEYS)

    def number(self):
        return self.rng.choice(NUMBERS if self.rng.random() < 0.75 else BAD_NUMBERS)

    def value(self):
        kind = self.rng.random()
        if kind < 0.35:
            return self.rng.choice(NUMBERS)
        if kind < 0.5:
            return self.rng.choice(FLOATS)
        if kind < 0.6:
            return self.rng.choice(BAD_NUMBERS + BAD_FLOATS)
        if kind < 0.9:
            return self.rng.choice(TEXTS)
        return self.rng.randbytes(self.rng.randrange(80))

    def relative(self, unit):
        """A relative expiry, each one used once, so that comparing two of them is sure."""
        self.serial += 1
        return b"%d" % ((100_000 + 37 * (self.serial * 7919 % 100_003)) * unit)

    def absolute(self, unit):
        return b"%d" % ((FAR + self.rng.randrange(8)) * unit + self.rng.choice([0, 0, unit // 2]))

    def expiry_option(self, now=True):
        """EX, PX, EXAT or PXAT and a time, mostly a good one."""
        name = self.rng.choice([b"EX", b"PX", b"EXAT", b"PXAT", b"ex", b"pXaT"])
        unit = 1000 if name.upper().startswith(b"P") else 1
        kind = self.rng.random()
        if kind < 0.12:
            return [name, self.rng.choice(BAD_NUMBERS + [b"0", b"-1", b"9223372036854775807",
                                                         b"-9223372036854775808",
                                                         b"9223372036854775"])]
        if name.upper().endswith(b"AT"):
            return [name, self.absolute(unit)]
        return [name, self.relative(unit)]

    def case(self, name):
        return self.rng.choice([name, name, name, name.lower(), name.title()])

    # -- commands

    def next(self, who):
        """A command for connection `who`, as a tuple of bytes."""
        if self.must_select[who]:
            self.must_select[who] = False
            return (b"SELECT", self.rng.choice(DATABASES))
        multi = self.in_multi[who]
        kind = self.rng.random()
        if kind < 0.06:
            return self.transaction(who)
        if kind < 0.12:
            return self.connection(multi)
        if kind < 0.17:
            return self.wrong()
        table = self.exact if multi else self.exact + self.loose
        args = self.rng.choice(table)(self)
        return (self.case(args[0]), *args[1:])

    def transaction(self, who):
        if self.in_multi[who]:
            word = self.rng.choice([b"EXEC", b"EXEC", b"EXEC", b"DISCARD", b"MULTI", b"WATCH",
                                    b"UNWATCH"])
        else:
            word = self.rng.choice([b"MULTI"] * 6 + [b"WATCH"] * 4 + [b"EXEC", b"DISCARD",
                                                                      b"UNWATCH"])
        if word == b"WATCH":
            return (word, *(self.key() for _ in range(self.rng.randrange(1, 3))))
        if self.rng.random() < 0.03:
            return (word, b"extra")
        if word == b"MULTI":
            self.in_multi[who] = True
        elif word in (b"EXEC", b"DISCARD"):
            self.in_multi[who] = False
        return (word,)

    def connection(self, multi):
        choices = [lambda: (b"SELECT", self.rng.choice(DATABASES)),
                   lambda: (b"SELECT", self.rng.choice(DATABASES)),
                   lambda: (b"PING",), lambda: (b"PING", self.value()),
                   lambda: (b"ECHO", self.value()),
                   lambda: (b"SWAPDB", self.database(), self.database()),
                   lambda: (b"MOVE", self.key(), self.database()),
                   lambda: (b"CLIENT", b"GETNAME"),
                   lambda: (b"CLIENT", b"SETNAME", self.rng.choice([b"me", b"", b"a b", b"x\n"]))]
        if not multi:
            choices.append(lambda: (b"SELECT", self.rng.choice(BAD_DATABASES)))
        if self.rng.random() < 0.1:
            choices = [lambda: (b"FLUSHDB", *self.flush_word()),
                       lambda: (b"FLUSHALL", *self.flush_word())]
        return self.rng.choice(choices)()

    def flush_word(self):
        return self.rng.choice([(), (b"ASYNC",), (b"SYNC",), (b"FOO",), (b"SYNC", b"ASYNC")])

    def database(self):
        return self.rng.choice(DATABASES if self.rng.random() < 0.85 else BAD_DATABASES)

    def wrong(self):
        """Any command with any number of arguments; commands that nobody has."""
        names = b"""GET SET DEL MGET MSET MSETNX INCR INCRBY DECRBY INCRBYFLOAT APPEND STRLEN
                    GETRANGE SETRANGE GETSET SETNX SETEX PSETEX GETEX GETDEL EXISTS UNLINK TOUCH
                    TYPE RENAME RENAMENX COPY MOVE PERSIST EXPIREAT PEXPIREAT TTL PEXPIRETIME
                    OBJECT ECHO SWAPDB DBSIZE EXEC MULTI""".split()
        if self.rng.random() < 0.3:
            return (self.rng.choice([b"NOSUCH", b"get2", b"x" * 150, b"a\r\nb", b"", b"G\0ET",
                                     b"'quoted'", b"\xff\xfe"]),
                    *(self.value() for _ in range(self.rng.randrange(4))))
        name = self.rng.choice(names)
        if name in (b"EXEC", b"MULTI"):
            return (name, b"too", b"many")
        if name == b"OBJECT":
            return (name, *self.rng.choice([(), (b"FOO",), (b"FOO", b"a"), (b"ENCODING",),
                                            (b"ENCODING", b"a", b"b"), (b"FREQ", b"a", b"b")]))
        count = self.rng.randrange(5)
        if name in (b"MOVE", b"SWAPDB") and count == 2:
            count = 3  # a number may be a database that Redis does not have
        if name == b"DBSIZE":
            count += 1
        if name in (b"TTL", b"PEXPIRETIME") and count == 1:
            count = 2  # two clocks, and in a transaction nothing allows for that
        if name == b"GETEX" or (name in (b"SETEX", b"PSETEX") and count == 3):
            count = 0  # a good relative time by accident would not be comparable
        return (name, *(self.value() if self.rng.random() < 0.5 else self.key()
                        for _ in range(count)))

    def set_command(self):
        out = [b"SET", self.key(), self.value()]
        options = []
        if self.rng.random() < 0.45:
            options.append(self.expiry_option())
        for word, chance in ((b"NX", 0.15), (b"XX", 0.15), (b"GET", 0.15), (b"KEEPTTL", 0.15),
                             (b"FOO", 0.02), (b"get", 0.05), (b"EX", 0.01)):
            if self.rng.random() < chance:
                options.append([word])
        self.rng.shuffle(options)
        return out + [word for option in options for word in option]

    def expire_command(self, name, time_word):
        out = [name, self.key(), time_word]
        if self.rng.random() < 0.4:
            out += self.rng.choices([b"NX", b"XX", b"GT", b"LT", b"nx", b"FOO"],
                                    k=self.rng.choice([1, 1, 1, 2]))
        return out

    def expire_at(self):
        if self.rng.random() < 0.5:
            name, unit = b"EXPIREAT", 1
        else:
            name, unit = b"PEXPIREAT", 1000
        kind = self.rng.random()
        if kind < 0.1:
            word = self.number()  # a short time after 1970, or 292 million years: both are definite
        elif kind < 0.15:
            word = self.rng.choice([b"-1", b"0", b"1"])
        else:
            word = self.absolute(unit)
        return self.expire_command(name, word)

    def expire(self):
        name, unit = self.rng.choice([(b"EXPIRE", 1), (b"PEXPIRE", 1000)])
        kind = self.rng.random()
        if kind < 0.1:
            word = self.rng.choice(BAD_NUMBERS + [b"9223372036854775807", b"-9223372036854775808"])
        elif kind < 0.2:
            word = self.rng.choice([b"0", b"-1", b"-1000"])
        else:
            word = self.relative(unit)
        return self.expire_command(name, word)

    def setex(self):
        name, unit = self.rng.choice([(b"SETEX", 1), (b"PSETEX", 1000)])
        word = self.relative(unit) if self.rng.random() < 0.8 else self.rng.choice(
            [b"0", b"-1", b"x", b"9223372036854775807"])
        return [name, self.key(), word, self.value()]

    def getex(self):
        options = self.rng.choice([[], [b"PERSIST"], [b"persist", b"EX", b"10"], [b"FOO"],
                                   self.expiry_option(), self.expiry_option(),
                                   [b"EX", b"10", b"PX", b"10"], [b"EXAT", b"1"], [b"PXAT", b"1"]])
        return [b"GETEX", self.key(), *options]

    def copy(self):
        out = [b"COPY", self.key(), self.key()]
        for option in ([b"DB", self.database()], [b"REPLACE"], [b"FOO"], [b"DB"]):
            if self.rng.random() < (0.4 if len(option) == 2 or option[0] == b"REPLACE" else 0.03):
                out += option
        return out

    def setrange(self):
        offset = self.rng.choice([b"0", b"1", b"5", b"100", b"-1", b"536870911", b"536870912",
                                  b"9223372036854775807", b"x", b"-9223372036854775808"])
        text = self.rng.choice([b"", b"ab", b"\0", b"xyz"])
        if offset == b"536870911":
            text = b"ab"  # one byte would fit, and would be half a gigabyte
        return [b"SETRANGE", self.key(), offset, text]

    def pairs(self, name):
        return [name, *(word for _ in range(self.rng.randrange(1, 4))
                        for word in (self.key(), self.value()))]

    def keys_of(self, name, most=4):
        return [name, *(self.key() for _ in range(self.rng.randrange(1, most)))]

    # What has the same reply on both servers to the byte ...
    exact = [
        set_command, set_command, set_command,
        lambda g: [b"GET", g.key()], lambda g: [b"GET", g.key()], lambda g: [b"GET", g.key()],
        lambda g: [b"GETSET", g.key(), g.value()], lambda g: [b"GETDEL", g.key()],
        lambda g: [b"SETNX", g.key(), g.value()], setex, getex,
        lambda g: [b"APPEND", g.key(), g.value()], lambda g: [b"STRLEN", g.key()], setrange,
        lambda g: [b"GETRANGE", g.key(), g.number(), g.number()],
        lambda g: [b"GETRANGE", g.key(), *(b"%d" % g.rng.randrange(-9, 9) for _ in range(2))],
        lambda g: g.keys_of(b"MGET"), lambda g: g.pairs(b"MSET"), lambda g: g.pairs(b"MSETNX"),
        lambda g: [b"INCR", g.key()], lambda g: [b"DECR", g.key()],
        lambda g: [b"INCRBY", g.key(), g.number()], lambda g: [b"DECRBY", g.key(), g.number()],
        lambda g: [b"INCRBYFLOAT", g.key(),
                   g.rng.choice(FLOATS if g.rng.random() < 0.8 else BAD_FLOATS + BAD_NUMBERS)],
        lambda g: g.keys_of(b"DEL"), lambda g: g.keys_of(b"UNLINK"), lambda g: g.keys_of(b"EXISTS"),
        lambda g: g.keys_of(b"TOUCH"), lambda g: [b"TYPE", g.key()],
        lambda g: [b"RENAME", g.key(), g.key()], lambda g: [b"RENAMENX", g.key(), g.key()], copy,
        expire_at, expire_at, expire, lambda g: [b"PERSIST", g.key()],
        lambda g: [b"OBJECT", b"ENCODING", b"missing"],
    ]
    # ... and what is compared in a way of its own, and so stays out of transactions.
    loose = [
        lambda g: [g.rng.choice([b"TTL", b"EXPIRETIME"]), g.key()],
        lambda g: [g.rng.choice([b"PTTL", b"PEXPIRETIME"]), g.key()],
        lambda g: [b"KEYS", g.rng.choice(PATTERNS)], lambda g: [b"DBSIZE"],
        lambda g: [b"RANDOMKEY"],
        lambda g: [b"SCAN", b"0", *g.scan_options()],
        lambda g: [b"SCAN", g.rng.choice([b"x", b"99999999999999999999999", b" 0", b"0x"])],
        lambda g: [b"MEMORY", b"USAGE", g.key()], lambda g: [b"OBJECT", b"IDLETIME", g.key()],
    ]

    def scan_options(self):
        out = []
        for option, chance in (([b"COUNT", b"%d" % self.rng.randrange(1, 9)], 0.4),
                               ([b"MATCH", self.rng.choice(PATTERNS)], 0.4),
                               ([b"TYPE", self.rng.choice([b"string", b"list", b"STRING"])], 0.2),
                               ([self.rng.choice([b"FOO", b"COUNT", b"MATCH"])], 0.03),
                               ([b"COUNT", self.rng.choice([b"0", b"-1", b"x"])], 0.05)):
            if self.rng.random() < chance:
                out += option
        return out


class Pair:
    """Two connections to each of both servers, and the comparison."""

    def __init__(self, ours, theirs, version):
        self.servers = (ours, theirs)
        self.version = version
        self.conns = ([], [])
        self.fresh()

    def fresh(self):
        for server, conns in zip(self.servers, self.conns):
            for conn in conns:
                conn.close()
            try:
                conns[:] = [server.connect(self.version) for _ in range(2)]
            except ConnectionError:  # it crashed: look for the shortest way there all the same
                server.process.wait(30)
                server.start()
                conns[:] = [server.connect(self.version) for _ in range(2)]
            conns[0].ok("FLUSHALL")

    def both(self, who, *command):
        for conns in self.conns:
            conns[who].send(resp.encode(*command))
        return tuple(conns[who].read_raw() for conns in self.conns)

    def whole_scan(self, side, who, options):
        """Every key of one iteration, as a sorted list without repetitions; or the error."""
        cursor, found = b"0", set()
        for _ in range(100_000):
            reply = self.conns[side][who].call("SCAN", cursor, *options)
            if isinstance(reply, resp.ReplyError):
                return reply
            cursor, page = reply
            found.update(page)
            if cursor == b"0":
                return sorted(found)
        raise AssertionError("a SCAN that does not end")

    def step(self, who, command):
        """None, or what differs."""
        name = command[0].upper()
        if name == b"SCAN" and command[1] == b"0":
            a, b = (self.whole_scan(side, who, command[2:]) for side in (0, 1))
            return None if a == b else (a, b)
        if name == b"DBSIZE" and len(command) == 1:
            self.both(who, "KEYS", "*")
        a, b = self.both(who, *command)
        if a == b:
            return None
        a_value, b_value = resp.decode(a), resp.decode(b)
        if isinstance(a_value, resp.ReplyError) or isinstance(b_value, resp.ReplyError):
            return (a, b)
        if name == b"KEYS" and sorted(a_value) == sorted(b_value):
            return None
        if name == b"RANDOMKEY" and None not in (a_value, b_value):
            known = [resp.decode(raw) for raw in self.both(who, "KEYS", "*")]
            return None if a_value in known[1] and b_value in known[0] else (a, b)
        if name in (b"TTL", b"EXPIRETIME") and min(a_value, b_value) > 0:
            return None if abs(a_value - b_value) <= 10 else (a, b)
        if name in (b"PTTL", b"PEXPIRETIME") and min(a_value, b_value) > 0:
            return None if abs(a_value - b_value) <= 10_000 else (a, b)
        if name in (b"MEMORY", b"OBJECT") and type(a_value) is type(b_value) is int:
            return None
        return (a, b)

    def settle(self, who, command):
        """Expired keys must be gone on both before anything else counts or watches them."""
        name = command[0].upper()
        if name in (b"SET", b"GETEX", b"EXEC") and len(command) > 1 or name == b"EXEC":
            self.both(who, "KEYS", "*")

    def final(self):
        """The whole contents of every database."""
        for database in DATABASES:
            self.both(0, "SELECT", database)
            a, b = (self.whole_scan(side, 0, ()) for side in (0, 1))
            if a != b:
                return (database, a, b)
            for key in a:
                for command in ((b"GET", key), (b"PEXPIRETIME", key)):
                    different = self.step(0, command)
                    if different:
                        return (database, command, *different)
        return None


def replay(pair, steps):
    """True if these steps, from an empty store, end in a difference."""
    pair.fresh()
    multi = [False, False]
    for who, command in steps:
        name = command[0].upper()
        try:
            if pair.step(who, command) is not None:
                return True
        except (ConnectionError, AssertionError):
            return True
        if len(command) == 1 and name in (b"MULTI", b"EXEC", b"DISCARD"):
            multi[who] = name == b"MULTI"
        if not any(multi):
            pair.settle(who, command)
    return False


def shortest(pair, steps, seconds=15):
    """The shortest tail that still differs, then without what it does not need."""
    end = time.monotonic() + seconds
    length = 1
    while length < len(steps) and not replay(pair, steps[-length:]):
        length *= 2
    steps = steps[-length:]
    if not replay(pair, steps):
        return steps  # needs all of it, or does not come again
    chunk = len(steps) // 2
    while chunk and time.monotonic() < end:
        at = 0
        while at < len(steps) - 1 and time.monotonic() < end:
            less = steps[:at] + steps[min(at + chunk, len(steps) - 1):]
            if replay(pair, less):
                steps = less
            else:
                at += chunk
        chunk //= 2
    return steps


def first_difference(ours, theirs):
    """Of two raw replies to EXEC, the two that differ; anything else as it is."""
    if not (isinstance(ours, bytes) and isinstance(theirs, bytes)):
        return ours, theirs
    values = resp.decode(ours), resp.decode(theirs)
    if all(isinstance(value, list) for value in values) and len(values[0]) == len(values[1]):
        for i, (a, b) in enumerate(zip(*values)):
            if a != b:
                return f"reply {i}: {a!r}", f"reply {i}: {b!r}"
    return ours, theirs


def shown(steps):
    return "\n".join(f"  {who}: " + " ".join(
        repr(word)[1:] if len(word) < 60 else f"<{len(word)} bytes>" for word in command)
                     for who, command in steps)


@pytest.mark.parametrize("run", range(6))
def test_random_commands_get_the_replies_of_redis(kv, redis_server, rng, run):
    rng.seed(rng.getrandbits(64) + run)
    pair = Pair(kv, redis_server, 3 if run % 2 else 2)
    generator = Generator(rng)
    steps = []
    for _ in range(10000):
        who = int(rng.random() < 0.3)
        command = generator.next(who)
        steps.append((who, command))
        try:
            different = pair.step(who, command)
        except ConnectionError as error:
            different = (repr(error), "one of both closed the connection")
        if different is not None:
            mine, redis = first_difference(*different)
            tail = shortest(pair, steps)
            pytest.fail(f"RESP{pair.version}: {kv.name} {str(mine)[:600]}\n       redis "
                        f"{str(redis)[:600]}\nafter {len(steps)} commands; the shortest tail:\n"
                        + shown(tail), pytrace=False)
        if command[0].upper() == b"SELECT" and (len(command) != 2 or command[1] not in DATABASES):
            generator.must_select[who] = True
        if not any(generator.in_multi):
            pair.settle(who, command)
    for who in (0, 1):
        pair.both(who, "RESET")
        if pair.version == 3:
            for conns in pair.conns:
                conns[who].call("HELLO", 3)
    problem = pair.final()
    assert problem is None, f"the contents differ at the end: {problem}"


ON_AN_EMPTY_STORE = [
    "ACL WHOAMI", "CONFIG GET nosuch", "CONFIG SET nosuch 1", "CONFIG GET",
    "CLIENT GETNAME", "CLIENT SETNAME", "CLIENT NO-EVICT on", "CLIENT KILL", "CLIENT KILL ID x",
    "CLIENT KILL 1.2.3.4:5", "CLIENT UNPAUSE", "CLIENT REPLY", "COMMAND COUNT x", "COMMAND FOO",
    "COMMAND INFO nosuch", "COMMAND DOCS nosuch", "COMMAND GETKEYS get a", "LASTSAVE x",
    "SAVE x", "BGSAVE FOO", "DBSIZE x", "SLOWLOG GET x", "SLOWLOG LEN", "SLOWLOG RESET",
    "SLOWLOG FOO", "MEMORY FOO", "MEMORY USAGE none", "MEMORY USAGE", "MEMORY USAGE a SAMPLES",
    "TIME x", "AUTH x", "AUTH x y", "AUTH", "AUTH a b c", "ACL FOO", "ACL WHOAMI x", "QUIT x",
    "RESET x", "MONITOR x", "INFO nosuch", "ECHO", "PING a b", "SELECT", "SELECT 1 2",
    "FLUSHALL FOO", "SWAPDB 0", "SWAPDB x 1", "SWAPDB 1 x", "SWAPDB -1 0", "OBJECT FREQ none",
    "OBJECT IDLETIME none", "OBJECT REFCOUNT none", "RANDOMKEY x", "RANDOMKEY", "SCAN",
    "SCAN 0 COUNT", "SCAN 0 FOO 1", "SCAN 0 COUNT 0", "SCAN 0 TYPE", "KEYS", "TYPE none",
]
HELPS = ["OBJECT HELP", "CLIENT HELP", "MEMORY HELP", "SLOWLOG HELP", "CONFIG HELP", "ACL HELP"]


@pytest.mark.parametrize("version", [2, 3])
def test_commands_on_an_empty_store_get_the_replies_of_redis(kv, redis_server, version):
    different = []
    for command in ON_AN_EMPTY_STORE:
        ours, redis = (server.connect(version).raw_call(*command.split())
                       for server in (kv, redis_server))
        if ours != redis:
            different.append(f"{command}: {ours!r}, redis {redis!r}")
    assert not different, "\n".join(different)


@pytest.mark.parametrize("command", HELPS)
def test_help_is_a_list_of_lines(kv, command):
    """Whose subcommands there are is each server's own: only the form is Redis's."""
    reply = kv.connect().call(*command.split())
    assert isinstance(reply, list) and len(reply) > 2, reply
    assert reply[0].startswith(command.split()[0])


@pytest.mark.parametrize("first", ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "SELECT 1", "MOVE a 1",
                                   "COPY a a DB 9", "SWAPDB x 1", "MOVE a x", "FLUSHALL FOO"])
def test_command_after_one_of_whole_databases_in_a_transaction(kv, redis_server, first):
    replies = []
    for server in (kv, redis_server):
        conn = server.connect()
        conn.ok("MSET", "a", 1, "b", 2)
        conn.pipe(("SELECT", 1), ("SET", "b", 3), ("SELECT", 0))
        replies.append(conn.pipe(
            ("MULTI",), tuple(first.split()), ("EXPIRE", "b", 100), ("INCR", "b"), ("DBSIZE",),
            ("SWAPDB", 1, 2), ("SELECT", 2), ("GET", "b"), ("SET", "b", 4),
            ("EXEC",), ("DBSIZE",)))
    assert replies[0] == replies[1]


@pytest.mark.parametrize("value, encoding", [
    (b"1", b"int"), (b"9223372036854775807", b"int"), (b"9223372036854775808", b"embstr"),
    (b"01", b"embstr"), (b"", b"embstr"), (b"x" * 44, b"embstr"), (b"x" * 45, b"raw")])
def test_object_encoding_of_a_fresh_value(kv, value, encoding):
    conn = kv.connect()
    conn.ok("SET", "a", value)
    assert conn.call("OBJECT", "ENCODING", "a") == encoding


def test_scan_gives_every_key_that_stays_while_others_come_and_go(kv, rng):
    """Also while the table grows and shrinks by some powers of two."""
    conn, writer = kv.connect(), kv.connect()
    stay = {b"stay:%d" % i for i in range(500)}
    conn.ok("MSET", *(word for key in stay for word in (key, "x")))
    for count in (1, 10, 100):
        seen, cursor, serial, passing = set(), b"0", 0, []
        while True:
            cursor, page = conn.call("SCAN", cursor, "COUNT", count)
            seen.update(page)
            if cursor == b"0":
                break
            if serial < 20000:
                grow = (serial // 4000) % 2 == 0
                if grow:
                    passing += [b"pass:%d" % i for i in range(serial, serial + 200)]
                    writer.ok("MSET", *(w for key in passing[-200:] for w in (key, "y")))
                else:
                    gone, passing = passing[:200], passing[200:]
                    if gone:
                        writer.call("DEL", *gone)
                serial += 200
        assert stay <= seen
        if passing:
            writer.call("DEL", *passing)
    assert conn.call("DBSIZE") == len(stay)


def test_scan_cursor_is_good_on_another_connection(kv):
    conn = kv.connect()
    keys = {b"key:%d" % i for i in range(1000)}
    conn.ok("MSET", *(word for key in keys for word in (key, "x")))
    seen, cursor = set(), b"0"
    while True:
        cursor, page = kv.connect().call("SCAN", cursor, "COUNT", 50)
        assert 0 <= int(cursor) < 1 << 64
        seen.update(page)
        kv.close_clients()
        if cursor == b"0":
            break
    assert seen == keys


def test_scan_pages_are_near_count(kv):
    conn = kv.connect()
    conn.ok("MSET", *(word for i in range(10000) for word in (f"key:{i}", "x")))
    _, page = conn.call("SCAN", 0, "COUNT", 100)
    assert 100 <= len(page) <= 200
    keys, pages = conn.scan("COUNT", 100)
    assert len(set(keys)) == 10000 and pages <= 150


def test_hostile_patterns_are_not_exponential(kv):
    conn = kv.connect()
    conn.ok("SET", "a" * 5000, 1)
    began = time.monotonic()
    for pattern in ("*" * 2000 + "b", "*a" * 40 + "*b", "[" * 1000, "?*" * 30 + "b",
                    "[^" * 500 + "*"):
        assert conn.call("KEYS", pattern) == []
    assert time.monotonic() - began < 5 * targets.SCALE
