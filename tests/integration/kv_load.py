"""Writers that know what they were promised: after a crash the store must hold, for each of them,
everything that was acknowledged and nothing but a beginning of what was not."""

import random
import threading

import resp

PROJECTS = (0, 1, 5, 999)


class Writer(threading.Thread):
    """One connection that sends pipelines of changes of its own keys until the server dies."""

    def __init__(self, address, name, seed, state):
        super().__init__(daemon=True)
        self.address = address
        self.prefix = name
        self.random = random.Random(seed)
        self.state = state    # (project, key) -> value: what is acknowledged
        self.pending = []     # the effects of what was sent and not answered, in order
        self.answered = 0
        self.problem = None
        self.halt = False

    def operation(self, project, view):
        """(commands, what they must answer, effect) of one change on top of `view`."""
        kind = self.random.random()
        key = f"{self.prefix}:{self.random.randrange(25)}".encode()
        value = b"%d:%s" % (self.random.getrandbits(48),
                            b"x" * self.random.choice([0, 3, 100, 900]))
        if kind < 0.4:
            return [("SET", key, value)], ["OK"], {(project, key): value}
        if kind < 0.55:
            old = view.get((project, key))
            return [("DEL", key)], [int(old is not None)], {(project, key): None}
        if kind < 0.7:
            counter = f"{self.prefix}:n".encode()
            after = int(view.get((project, counter)) or 0) + 1
            return [("INCR", counter)], [after], {(project, counter): b"%d" % after}
        if kind < 0.8:
            old = view.get((project, key)) or b""
            value = value[:20]
            if len(old) > 3000:
                return [("SET", key, value)], ["OK"], {(project, key): value}
            return ([("APPEND", key, value)], [len(old) + len(value)],
                    {(project, key): old + value})
        pair = [f"{self.prefix}:pair:{side}".encode() for side in "ab"]
        return ([("MULTI",), ("SET", pair[0], value), ("SET", pair[1], value), ("EXEC",)],
                ["OK", "QUEUED", "QUEUED", ["OK", "OK"]],
                {(project, pair[0]): value, (project, pair[1]): value})

    def run(self):
        try:
            conn = resp.Conn(self.address)
            try:
                self.work(conn)
            finally:
                conn.close()
        except (resp.Closed, OSError):
            pass  # it died, as it should
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.problem = error

    def work(self, conn):
        while not self.halt and self.problem is None:
            project = self.random.choice(PROJECTS)
            view, batch, data = dict(self.state), [], [resp.encode("SELECT", project)]
            for _ in range(self.random.randrange(1, 5)):
                commands, answers, effect = self.operation(project, view)
                view.update(effect)
                batch.append((answers, effect))
                data += [resp.encode(*command) for command in commands]
            self.pending = [effect for _, effect in batch]
            conn.send(*data)
            replies = [conn.read()]
            if replies != ["OK"]:
                self.problem = f"SELECT {project}: {replies}"
                return
            for answers, effect in batch:
                replies = [conn.read() for _ in answers]
                if replies != answers:
                    self.problem = f"{replies} in the place of {answers}"
                    return
                self.state.update(self.pending.pop(0))
                self.answered += 1

    def settle(self, found):
        """Take what the restarted server holds for what is true, or say what is wrong with it."""
        state = dict(self.state)
        places = {place for effect in (state, *self.pending) for place in effect}
        for effect in [{}, *self.pending]:
            state.update(effect)
            if all(found.get(place) == state.get(place) for place in places):
                self.state.clear()
                self.state.update(state)
                self.pending = []
                return None
        wrong = {place: (value, found.get(place)) for place, value in self.state.items()
                 if found.get(place) != value}
        lines = [f"  project {project} {key!r}: acknowledged {str(was)[:60]}, found {str(now)[:60]}"
                 for (project, key), (was, now) in list(wrong.items())[:10]]
        return "\n".join([f"writer {self.prefix}: no beginning of {len(self.pending)} unanswered "
                          "changes explains what is there:", *lines])


def contents(conn, places):
    """What the server holds at these (project, key), and every key there is."""
    found, keys = {}, set()
    for project in PROJECTS:
        conn.ok("SELECT", project)
        wanted = [key for at, key in places if at == project]
        if wanted:
            values = conn.call("MGET", *wanted)
            found |= {(project, key): value for key, value in zip(wanted, values)}
        keys |= {(project, key) for key in conn.call("KEYS", "*")}
    return found, keys


class Load:
    """Eight writers, over any number of crashes."""

    def __init__(self, rng, count=8):
        self.rng = rng
        self.states = [{} for _ in range(count)]
        self.writers = []
        self.answered = 0

    def start(self, address):
        self.writers = [Writer(address, f"w{i}", self.rng.getrandbits(64), state)
                        for i, state in enumerate(self.states)]
        for writer in self.writers:
            writer.start()

    def join(self):
        """After the server's end."""
        for writer in self.writers:
            writer.join(30)
            assert not writer.is_alive()
            assert writer.problem is None, writer.problem
            self.answered += writer.answered

    def check(self, conn):
        places = {place for writer in self.writers
                  for places in (writer.state, *writer.pending) for place in places}
        found, keys = contents(conn, places)
        problems = [problem for writer in self.writers if (problem := writer.settle(found))]
        strange = keys - places
        if strange:
            problems.append(f"keys that nobody set: {sorted(strange)[:5]}")
        assert not problems, "\n".join(problems)
