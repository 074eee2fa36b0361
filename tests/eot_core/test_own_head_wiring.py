"""Heads of one's own in a detector: which one judges a pause, and that thresholds belong to whoever did."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_head_files import WITH_HEAD, WITHOUT_HEAD, with_own_heads, write_own_heads
from session_driver import Driver, local_spec

from eot_core import EndpointingOptions, ModelSpec, OperatingPoint, TurnDetector
from eot_core.data import demo_recording
from eot_core.effects import Route
from eot_core.models import smart_turn
from eot_core.models.handle import model_handle
from eot_core.models.onnx_file import onnx_file
from eot_core.models.own_head import checksum
from eot_core.models.registry import resolve_model
from eot_core.policy_table import OperatingPointError, PolicyTable
from eot_core.transports.base import Answer

OWN = (WITH_HEAD["threshold"], EndpointingOptions(WITH_HEAD["min_delay"], WITH_HEAD["max_delay"]))
SHIPPED = (WITHOUT_HEAD["threshold"], EndpointingOptions(WITHOUT_HEAD["min_delay"], WITHOUT_HEAD["max_delay"]))


def driver(heads: tuple[str, ...], languages: tuple[str, ...] = (), **more: Any) -> Driver:
    """A session on a model with heads whose scores are given by the test."""
    content = with_own_heads(dict.fromkeys(heads, 0.0), languages=languages)
    content["models"]["local-model"] = content["models"].pop("eot-open-1")
    spec = local_spec(heads={language: f"{language}56789abc" * 4 for language in heads})
    point = OperatingPoint("balanced", calibration=PolicyTable.from_json(content))
    return Driver(local=spec, operating_point=point, **more)


def ask(d: Driver) -> str:
    d.audio()
    return d.predict()


def answer(d: Driver, request: str, **by_head: float) -> Any:
    d.run(d.session.on_answer(d.now, Route.LOCAL, request, Answer(0.2, by_head=by_head)))
    return d.resolved[request]


def settings(d: Driver, language: str | None) -> tuple[float, EndpointingOptions | None]:
    return d.session.threshold(language), d.session.endpointing(language)


class TestWhichOneJudges:
    def test_the_language_that_was_named_last(self) -> None:
        d = driver(("de", "en"))
        d.session.supports_language("de-CH")
        prediction = answer(d, ask(d), de=0.7, en=0.9)
        assert (prediction.probability, prediction.model) == (0.7, "local-model+de-de56789a")
        assert settings(d, "de") == OWN

    @pytest.mark.parametrize(("heads", "judges"), [(("de", "en"), "en"), (("de",), "de"), (("fr", "es"), "es")])
    def test_none_was_named_yet(self, heads: tuple[str, ...], judges: str) -> None:
        """The one whose operating point holds then: English, else the file's first."""
        d = driver(heads)
        assert answer(d, ask(d), **dict.fromkeys(heads, 0.7)).model.startswith(f"local-model+{judges}-")
        assert settings(d, None) == OWN

    def test_a_language_without_one_is_judged_as_shipped(self) -> None:
        d = driver(("en",), languages=("de",))
        d.session.supports_language("de")
        prediction = answer(d, ask(d), en=0.9)
        assert (prediction.probability, prediction.model) == (0.2, "local-model")
        assert settings(d, "de") == SHIPPED

    def test_and_so_is_one_that_the_file_does_not_know(self) -> None:
        d = driver(("en",))
        d.session.supports_language("fr")
        assert answer(d, ask(d), en=0.9).probability == 0.2
        assert settings(d, "fr") == SHIPPED

    def test_without_an_operating_point_there_is_none(self) -> None:
        d = Driver(local=local_spec(heads={"en": "ab" * 32}))
        assert answer(d, ask(d), en=0.9).probability == 0.2
        assert d.session.threshold("en") == 0.36

    def test_a_head_that_says_nonsense_is_a_model_that_failed(self) -> None:
        d = driver(("en",))
        assert answer(d, ask(d), en=float("nan")).reason == "invalid_probability"
        assert answer(d, ask(d)).reason == "invalid_probability"


class TestThresholdsBelongToTheScore:
    def test_a_language_that_is_named_after_the_answer(self) -> None:
        d = driver(("de", "en"))
        d.session.supports_language("en")
        answer(d, ask(d), de=0.7, en=0.9)
        assert settings(d, "de") == OWN  # English's: that head gave the score
        assert answer(d, ask(d), de=0.7, en=0.9).probability == 0.7

    def test_the_shipped_head_s_score_is_compared_with_its_own(self) -> None:
        d = driver(("de",), languages=("en",))
        d.session.supports_language("en")
        answer(d, ask(d), de=0.7)
        assert settings(d, "de") == SHIPPED
        assert answer(d, ask(d), de=0.7).probability == 0.7
        assert settings(d, "de") == OWN

    def test_before_an_answer_it_is_who_will_judge(self) -> None:
        d = driver(("de",), languages=("en",))
        assert settings(d, "en") == SHIPPED
        assert settings(d, "de") == OWN

    def test_an_explicit_threshold_goes_first(self) -> None:
        d = driver(("de",), overrides=0.9)
        answer(d, ask(d), de=0.7)
        assert settings(d, "de")[0] == 0.9

    def test_the_cloud_s_answer_is_the_cloud_s(self) -> None:
        d = driver(("en",), cloud=True)
        d.ready()
        request = ask(d)
        d.run(d.session.on_answer(d.now, Route.CLOUD, request, Answer(0.3, by_head={"en": 0.9})))
        prediction = d.resolved[request]
        assert (prediction.probability, prediction.source) == (0.3, "cloud")
        assert "+" not in prediction.model


class TestDetector:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_own_heads(tmp_path / "c.json", {"en": 1.0, "de": -1.0}, languages=("fr",))

    async def test_scores_of_the_real_model(self, path: Path) -> None:
        pytest.importorskip("pipecat")
        import wave

        with wave.open(str(demo_recording())) as file:
            pcm = np.frombuffer(file.readframes(3 * 16_000), dtype="<i2")
        detector = TurnDetector(model="eot-open-1", calibration=path)
        said = {}
        for language in ("en", "de", "fr"):
            stream = detector.stream()
            stream.unlikely_threshold(language)
            stream.push_audio(pcm)
            said[language] = await stream.predict()
            threshold = stream.unlikely_threshold(language)
            assert threshold == (SHIPPED if language == "fr" else OWN)[0]
            assert stream.model == "eot-open-1"
            await stream.aclose()
        logit = {k: np.log(p.probability / (1 - p.probability)) for k, p in said.items()}
        assert logit["en"] - logit["fr"] == pytest.approx(1.0, abs=0.05)
        assert logit["de"] - logit["fr"] == pytest.approx(-1.0, abs=0.05)
        assert said["fr"].model == "eot-open-1"
        assert said["en"].model.startswith("eot-open-1+en-")
        assert detector.describe_options()["heads"].keys() == {"en", "de"}
        assert detector.model == "eot-open-1"

    async def test_the_decision_log_tells_which_head(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("pipecat")
        monkeypatch.setenv("EOT_DECISION_LOG", str(tmp_path / "log.jsonl"))
        detector = TurnDetector(model="eot-open-1", calibration=path)
        stream = detector.stream()
        for language in ("en", "fr"):
            stream.unlikely_threshold(language)
            stream.push_audio(np.full(16_000, 200, dtype=np.int16))
            await stream.predict()
            stream.flush()
        await stream.aclose()
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        own, shipped = (row for row in rows if row["kind"] == "prediction")
        local = detector.local_model
        assert local is not None
        assert (own["sha256"], own["threshold"]) == (local.heads["en"], WITH_HEAD["threshold"])
        assert own["model"] == f"eot-open-1+en-{own['sha256'][:8]}"
        assert (shipped["model"], shipped["sha256"]) == ("eot-open-1", resolve_model("eot-open-1").sha256)

    def test_a_process_loads_the_same_heads_once(self, path: Path) -> None:
        one = TurnDetector(model="eot-open-1", calibration=path).local_model
        two = TurnDetector(model="eot-open-1", operating_point=OperatingPoint("quick", calibration=path)).local_model
        assert one is two is not resolve_model("eot-open-1")
        assert one is not None
        assert model_handle(one) is not model_handle(resolve_model("eot-open-1"))

    def test_another_model_takes_no_notice(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "eot_core"):
            detector = TurnDetector(model="smart-turn-v3.2", calibration=path)
        assert detector.local_model is resolve_model("smart-turn-v3.2")
        assert "is for eot-open-1, and this detector runs smart-turn-v3.2: it changes nothing" in caplog.text
        assert "TurnDetector(model='eot-open-1', ...)" in caplog.text

    async def test_and_it_does_change_nothing(self, path: Path) -> None:
        with_file = TurnDetector(model="smart-turn-v3.2", calibration=path).stream()
        without = TurnDetector(model="smart-turn-v3.2").stream()
        for language in (None, "en", "de"):
            assert with_file.unlikely_threshold(language) == without.unlikely_threshold(language) == 0.5
            assert with_file.endpointing(language) is None
        await with_file.aclose()
        await without.aclose()

    async def test_of_two_models_it_is_about_the_one_that_it_has(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud = {"version": "v1", "base_url": "ws://localhost:1", "api_key": "key", "api_secret": "secret"}
        detector = TurnDetector(**cloud, fallback_model="eot-open-1", calibration=path)  # type: ignore[arg-type]
        assert detector._point is not None
        assert not detector._point.knows("turn-detector-v1"), "what is published was not asked for"
        assert detector._point.knows("eot-open-1")
        assert not caplog.records
        TurnDetector(**cloud, fallback_model="smart-turn-v3.2", calibration=path)  # type: ignore[arg-type]
        assert "TurnDetector(fallback_model='eot-open-1', ...)" in caplog.text, "model= would give up the cloud"

    def test_a_file_of_ones_own_that_has_changed(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        onnx, calibration = tmp_path / "mine.onnx", tmp_path / "mine.json"
        onnx.write_bytes(b"before")
        content = with_own_heads({}, languages=("en",))
        row = content["models"].pop("eot-open-1")
        content["models"]["mine"] = row | {"sha256": hashlib.sha256(b"before").hexdigest()}
        calibration.write_text(json.dumps(content))
        point = TurnDetector(model=onnx, calibration=calibration)._point
        assert point is not None
        assert point.resolve("mine", "en").threshold == WITHOUT_HEAD["threshold"]
        assert not caplog.records
        onnx.write_bytes(b"fitted anew")
        assert TurnDetector(model=onnx, calibration=calibration)._point is None
        assert "was made with other weights of mine" in caplog.text

    def test_a_file_that_is_not_there_is_not_its_business(self, tmp_path: Path) -> None:
        content = with_own_heads({}, languages=("en",))
        content["models"]["gone"] = content["models"].pop("eot-open-1")
        calibration = tmp_path / "mine.json"
        calibration.write_text(json.dumps(content))
        gone = onnx_file(tmp_path / "gone.onnx")
        detector = TurnDetector(
            base_url="wss://gateway.example", api_key="k", api_secret="s", fallback_model=gone, calibration=calibration
        )
        assert detector._point is not None

    def test_other_weights_of_the_model(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Neither the head nor the points were measured with them: what is published counts."""
        content = json.loads(path.read_text())
        content["models"]["eot-open-1"]["sha256"] = "ab" * 32
        path.write_text(json.dumps(content))
        with caplog.at_level(logging.WARNING, "eot_core"):
            detector = TurnDetector(model="eot-open-1", calibration=path)
        assert detector.local_model is resolve_model("eot-open-1")
        assert "was made with other weights of eot-open-1" in caplog.text
        assert "Run eot tune again" in caplog.text
        assert detector._point is None, "nobody asked for an operating point"
        asked = TurnDetector(model="eot-open-1", operating_point="patient", calibration=path)
        assert asked._point is not None
        assert asked._point.resolve("eot-open-1", "en") == OperatingPoint("patient").resolve("eot-open-1", "en")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "nonsense"}, "format must be"),
            ({"weights": "AAAA"}, "weights must hold"),
            ({"provenance": {"graph_revision": -1}}, "belongs to another version of the model: run eot tune again"),
            ({"model": "eot-open-1-fast"}, "belongs to another version of the model"),
        ],
    )
    def test_a_head_that_cannot_be_used(self, change: dict[str, Any], message: str, path: Path) -> None:
        content = json.loads(path.read_text())
        content["models"]["eot-open-1"]["languages"]["en"]["head"]["document"].update(change)
        path.write_text(json.dumps(content))
        with pytest.raises(OperatingPointError, match=message) as raised:
            TurnDetector(model="eot-open-1", calibration=path)
        assert str(raised.value).startswith(f"calibration {path}: the head of the calibration file for eot-open-1 ")

    def test_a_head_that_was_damaged(self, path: Path) -> None:
        """One letter of its weights is another: they are as many, and as finite, as before."""
        content = json.loads(path.read_text())
        head = content["models"]["eot-open-1"]["languages"]["en"]["head"]
        head["sha256"] = checksum(head["document"])
        path.write_text(json.dumps(content))
        assert TurnDetector(model="eot-open-1", calibration=path).local_model is not None
        weights = head["document"]["weights"]
        head["document"]["weights"] = weights[:40] + ("A" if weights[40] != "A" else "B") + weights[41:]
        path.write_text(json.dumps(content))
        with pytest.raises(OperatingPointError, match=r"in 'en' is not what eot tune wrote .* run eot tune again"):
            TurnDetector(model="eot-open-1", calibration=path)

    def test_the_head_of_another_encoder(self, path: Path) -> None:
        content = json.loads(path.read_text())
        content["models"]["eot-open-1"]["languages"]["de"]["head"]["document"]["encoder"]["sha256"] = "cd" * 32
        path.write_text(json.dumps(content))
        with pytest.raises(OperatingPointError, match=r"fitted on an encoder with sha256 cdcdcdcdcdcd.*eot tune"):
            TurnDetector(model="eot-open-1", calibration=path)

    def test_a_model_that_takes_none(self, path: Path) -> None:
        content = json.loads(path.read_text())
        model = content["models"].pop("eot-open-1")
        content["models"]["smart-turn-v3.2"] = {**model, "sha256": smart_turn.SHA256}
        path.write_text(json.dumps(content))
        with pytest.raises(OperatingPointError, match=r"smart-turn-v3\.2 takes no head of one's own: only eot-open-1"):
            TurnDetector(model="smart-turn-v3.2", calibration=path)

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            ([], "en head must be a JSON object"),
            ({"points": []}, "head: document must be a JSON object"),
            ({"document": {}, "points": []}, "en head: points must be a list with at least one policy"),
            ({"document": {}, "points": [WITH_HEAD], "sha256": "abc"}, "en head: sha256 must be 64 hexadecimal digits"),
        ],
    )
    def test_files_that_make_no_sense(self, head: Any, message: str) -> None:
        content = with_own_heads({"en": 0.0})
        content["models"]["eot-open-1"]["languages"]["en"]["head"] = head
        with pytest.raises(OperatingPointError, match=message):
            PolicyTable.from_json(content)

    def test_no_such_head(self, path: Path) -> None:
        point = OperatingPoint("quick", calibration=path)
        assert point.heads("eot-open-1").keys() == {"en", "de"}
        assert point.heads("nonsense") == {}
        with pytest.raises(OperatingPointError, match="no head for eot-open-1 in 'fr'"):
            point.resolve("eot-open-1", "fr", head="fr")


async def test_without_the_encoder_the_heads_points_touch_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default goes out and ends the turn after a delay, as with any model that cannot be loaded."""
    pytest.importorskip("pipecat")
    from eot_core.models import own_head
    from eot_core.models.base import ModelNotInstalledError

    def gone() -> Any:
        raise ModelNotInstalledError("the onnx package is not installed")

    path = write_own_heads(tmp_path / "c.json", {"en": 1.0})
    monkeypatch.setattr(own_head, "_specs", {})
    spec = ModelSpec(**{**_fields(resolve_model("eot-open-1")), "load": gone})
    monkeypatch.setattr(own_head, "EOT_OPEN", (spec,))
    stream = TurnDetector(model=spec, calibration=path).stream()
    stream.push_audio(np.full(16_000, 200, dtype=np.int16))
    prediction = await stream.predict()
    assert (prediction.source, prediction.probability, prediction.model) == ("default", 1.0, "eot-open-1")
    assert prediction.reason is not None
    assert prediction.reason.startswith("model_unavailable")
    await stream.aclose()


def _fields(spec: ModelSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__slots__}


def test_heads_are_kept_under_language_keys() -> None:
    with pytest.raises(ValueError, match=r"heads has the key 'de-CH': use language keys"):
        local_spec(heads={"de-CH": "ab" * 32})


def test_names_and_checksums_of_what_scored() -> None:
    spec = local_spec(heads={"de": "ab" * 32}, sha256="cd" * 32)
    assert spec.name_with_head("de") == "local-model+de-abababab"
    assert spec.name_with_head("en") == spec.name_with_head(None) == "local-model"
    assert [spec.sha256_of(name) for name in ("local-model", "local-model+de-abababab", "turn-detector-v1")] == [
        "cd" * 32,
        "ab" * 32,
        None,
    ]
