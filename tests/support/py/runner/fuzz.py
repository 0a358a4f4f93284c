# SPDX-License-Identifier: Apache-2.0
"""Runs libFuzzer programs: every seed of the corpus once, then for a while on new inputs. New inputs stay in .cache/fuzz/."""
import concurrent.futures
import subprocess

from . import paths

FINDINGS = paths.CACHE / "fuzz"


def names():
    return sorted(path.stem for path in paths.TESTS.glob("fuzz/*_fuzz.c"))


def run(report, name, seconds):
    short = name[: -len("_fuzz")]
    program = paths.BUILD_FUZZ / "tests" / "fuzz" / name
    if not program.exists():
        report.failed(f"fuzz/{short}", "not built (see the build's output)")
        return
    kept = FINDINGS / short
    kept.mkdir(parents=True, exist_ok=True)
    command = [str(program), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1",
               f"-artifact_prefix={FINDINGS}/{short}-"]
    words, seeds = paths.TESTS / "fuzz" / f"{short}.dict", paths.TESTS / "fuzz" / "corpus" / short
    command += [f"-dict={words}"] if words.exists() else []
    command += [str(kept)] + ([str(seeds)] if seeds.is_dir() else [])
    done = subprocess.run(command, env=paths.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        report.failed(f"fuzz/{short}", " ".join(command) + "\n" + done.stdout)
    else:
        report.passed(f"fuzz/{short}")


def run_all(report, chosen, seconds):
    report.say(f"fuzz: {len(chosen)} targets, {seconds} s each")
    with concurrent.futures.ThreadPoolExecutor(paths.JOBS) as pool:
        for name in chosen:
            pool.submit(run, report, name, seconds)
