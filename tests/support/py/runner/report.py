# SPDX-License-Identifier: Apache-2.0
"""What came of each test: one line per group while it runs, failures in full at the end, one last line with the counts."""
import collections
import threading
import time

Result = collections.namedtuple("Result", "name outcome detail")
OUTPUT_KEPT = 6000


def clip(text):
    """The end of a long output: that is where the reason stands."""
    text = text.strip()
    return text if len(text) <= OUTPUT_KEPT else "[...]\n" + text[-OUTPUT_KEPT:]


class Report:
    def __init__(self):
        self.results = []
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def add(self, name, outcome, detail=""):
        with self.lock:
            self.results.append(Result(name, outcome, detail))
            if outcome == "failed":
                print(f"  FAILED {name}", flush=True)

    def passed(self, name):
        self.add(name, "passed")

    def failed(self, name, detail):
        self.add(name, "failed", clip(detail))

    def skipped(self, name, reason):
        self.add(name, "skipped", reason)

    def say(self, text):
        with self.lock:
            print(f"[{time.monotonic() - self.started:5.0f} s] {text}", flush=True)

    def count(self, outcome):
        return sum(1 for result in self.results if result.outcome == outcome)

    def finish(self):
        """Prints everything that is not a pass, then the last line. Returns the exit code."""
        for result in self.results:
            if result.outcome == "failed":
                print(f"\n=== FAILED {result.name}\n{result.detail}")
        reasons = collections.Counter(r.detail for r in self.results if r.outcome == "skipped")
        for reason, times in reasons.items():
            print(f"skipped {times}: {reason}")
        ran = self.count("passed") + self.count("failed")
        if ran == 0:
            print("nothing ran")
        print(f"{self.count('passed')} passed, {self.count('failed')} failed, {self.count('skipped')} skipped", flush=True)
        return 1 if self.count("failed") or ran == 0 else 0
