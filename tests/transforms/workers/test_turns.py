import threading

from labelbeam.transforms.workers.turns import Turns

WAIT_S = 60  # for what must happen


class AtWork(threading.Thread):
    """A thread that has its turn until it is told to end."""

    def __init__(self, turns, alone=False):
        super().__init__(daemon=True)
        self.turns, self.alone = turns, alone
        self.begun, self.told = threading.Event(), threading.Event()
        self.start()

    def run(self):
        with self.turns.turn(self.alone):
            self.begun.set()
            self.told.wait(WAIT_S)

    def end(self):
        self.told.set()
        self.join(WAIT_S)


def test_one_that_is_to_be_alone_waits_for_others_and_others_for_it():
    turns = Turns()
    first, second = AtWork(turns), AtWork(turns)
    assert first.begun.wait(WAIT_S) and second.begun.wait(WAIT_S), "side by side"
    alone = AtWork(turns, alone=True)
    assert not alone.begun.wait(0.1)
    first.end()
    later = AtWork(turns)
    assert not later.begun.wait(0.1), "isn't overtaken"
    second.end()
    assert alone.begun.wait(WAIT_S)
    assert not later.begun.wait(0.1)
    alone.end()
    assert later.begun.wait(WAIT_S)
    later.end()


def test_an_error_ends_the_turn():
    turns = Turns()
    for alone in (True, False, True):
        try:
            with turns.turn(alone):
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
