"""Put what ``eot tune`` measured into the table that comes with the package.

::

    eot tune ../shared/audio/turns.jsonl --split test --language en --curve step --budget cutoff=0.05 \\
        --no-head --no-check \\
        --model eot-open-1,eot-open-1-fast,eot-open-1-fast-6s,eot-open-1-fast-4s -o CALIBRATION
    python -m training.operating_points CALIBRATION
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "eot_core" / "data" / "operating_points.json"
SOURCE = "openly-licensed-test"
_POINT = ("budget", "value", "threshold", "min_delay", "max_delay", "cutoff_rate", "latency")


def main() -> None:
    """Replace the rows of the models that the calibration file has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("calibration", type=Path)
    measured = json.loads(parser.parse_args().calibration.read_text(encoding="utf-8"))
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    table["sources"][SOURCE] = {
        "title": "eot tune on the test split of openly licensed English recordings (dictation, reading, commands; see "
        "docs/models/eot-open-1.md)",
        "caveat": "Measured on speakers that the policy was not chosen on, but not on telephone calls, and in English "
        "alone: measure your own calls with eot tune",
    }
    for name, row in measured["models"].items():
        table["models"][name] = {
            "source": SOURCE,
            "sha256": row["sha256"],
            "languages": {
                language: {
                    "holds": found["holds"],
                    "ends": found["ends"],
                    "points": [{key: point[key] for key in _POINT} for point in found["points"]],
                }
                for language, found in row["languages"].items()
            },
        }
    TABLE.write_text(_dump(table) + "\n", encoding="utf-8")


def _dump(table: dict[str, Any]) -> str:
    """JSON with a line for each policy."""
    text = json.dumps(table, indent=1, ensure_ascii=False)
    return re.sub(r"\{[^{}\[\]]*\"budget\"[^{}\[\]]*\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)


if __name__ == "__main__":
    main()
