"""How often equal systems are called different: `python jobs/simulate_false_claims.py [REPEATS]`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.core.atomic import write_text_atomic
from conical.workbench.bench.false_claims import page_text, simulate_comparisons, simulate_sweeps

if __name__ == "__main__":
    num_repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rates = []
    for rate in (*simulate_comparisons(num_repeats), *simulate_sweeps(num_repeats)):
        print(f"{rate.what}: {rate.count}, {100 * rate.rate:.1f} % +- {100 * rate.error:.1f} %", flush=True)
        rates.append(rate)
    path = ROOT / "docs" / "benchmarks" / "false_claims.md"
    command = f"`python jobs/simulate_false_claims.py {num_repeats}`"
    write_text_atomic(path, f"# False claims of compare and sweeps\n\n{command}.\n\n{page_text(rates)}")
    print(f"kept in {path}")
