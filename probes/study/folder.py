"""A study on disk: every table is written whole or not at all, and a finished stage is never run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooks.rollouts import write_whole

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


class StudyFolder:
    """The folder of a study: ``study.json``, ``results/``, ``figures/``, ``rollouts/``, ``stages/``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, key: str, record: dict[str, Any]) -> None:
        """Begin a study here, or go on with the one that is here.

        Raises:
            ValueError: if the folder holds a study with other settings.
        """
        path = self.root / "study.json"
        if path.exists():
            held = json.loads(path.read_text())
            if held["key"] != key:
                changed = sorted(k for k, v in record["config"].items() if held["config"].get(k) != v)
                raise ValueError(
                    f"{self.root} holds a study with other settings ({', '.join(changed)}); "
                    "choose another --out, or delete the folder."
                )
            return
        self.json("../study", {"key": key, **record, "seconds": {}})

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write ``results/NAME.parquet``."""
        write_whole(self.root / "results" / f"{name}.parquet", lambda path: frame.to_parquet(path, index=False))

    def read(self, name: str) -> pd.DataFrame:
        """Read ``results/NAME.parquet``."""
        import pandas as pd

        return pd.read_parquet(self.root / "results" / f"{name}.parquet")

    def json(self, name: str, value: object) -> None:
        """Write ``results/NAME.json``; NaN becomes null."""
        text = json.dumps(_plain(value), indent=1, allow_nan=False, ensure_ascii=False)
        path = (self.root / "results" / f"{name}.json").resolve()
        write_whole(path, lambda partial: partial.write_text(text + "\n"))

    def read_json(self, name: str) -> Any:
        """Read ``results/NAME.json``."""
        return json.loads((self.root / "results" / f"{name}.json").read_text())

    def figure(self, name: str, figure: go.Figure) -> None:
        """Write ``figures/NAME.json``."""
        text = figure.to_json()
        write_whole(self.root / "figures" / f"{name}.json", lambda path: path.write_text(text))

    def done(self, stage: str) -> bool:
        """Whether a stage was finished."""
        return (self.root / "stages" / stage).exists()

    def finish(self, stage: str, seconds: float) -> None:
        """Note that a stage is finished and how long it took."""
        write_whole(self.root / "stages" / stage, lambda path: path.write_text(f"{seconds:.1f}\n"))


def _plain(value: Any) -> Any:
    """JSON has no NaN: missing becomes null; numpy scalars become numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
