from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eot_core import Thresholds
from eot_core.thresholds import check_probability, normalize_overrides
from eot_core.transports.base import Calibration

MINI = Calibration({"en": 0.36, "de": 0.245, "fr": 0.285, "ja": 0.295}, 0.36)
CLOUD = Calibration({"en": 0.56, "de": 0.5}, 0.56)
unit = st.floats(0, 1)


class TestLookup:
    def test_calibrated(self) -> None:
        table = Thresholds("m", MINI)
        assert table.lookup("de-CH") == 0.245
        assert table.lookup("sv") == 0.36
        assert table.lookup(None) == 0.36
        assert table.lookup("multi") == 0.36

    def test_scalar_override_is_for_every_language(self) -> None:
        table = Thresholds("m", MINI, 0.5)
        assert table.lookup("de") == table.lookup("sv") == table.lookup(None) == 0.5

    def test_override_per_language(self) -> None:
        table = Thresholds("m", MINI, {"pt-BR": 0.1, "zh-Hans": 0.2, "english": 0.9})
        assert table.lookup("pt-PT") == 0.1
        assert table.lookup("zh") == 0.2
        assert table.lookup(None) == 0.9
        assert table.lookup("de") == 0.245

    def test_nothing_known_yet(self) -> None:
        assert Thresholds("m", None).lookup("en") is None
        assert Thresholds("m", None, {"de": 0.4}).lookup("de") == 0.4

    def test_zero_and_one_are_thresholds(self) -> None:
        assert Thresholds("m", MINI, 0).lookup("en") == 0.0
        assert Thresholds("m", MINI, 1).lookup("en") == 1.0


class TestSupports:
    def test_listed_or_overridden(self) -> None:
        assert Thresholds("m", MINI).supports("ja")
        assert not Thresholds("m", MINI).supports("sv")
        assert Thresholds("m", MINI, {"sv": 0.3}).supports("sv-SE")
        assert not Thresholds("m", MINI, {"sv": 0.3}).supports("fi")
        assert Thresholds("m", MINI, 0.3).supports("sv")

    def test_no_single_language_and_no_list(self) -> None:
        assert Thresholds("m", MINI).supports(None)
        assert Thresholds("m", MINI).supports("multi")
        assert Thresholds("m", None).supports("sv")
        assert Thresholds("m", Calibration({}, 0.5)).supports("sv")


class TestRescale:
    def test_relation_to_the_calibrated_default_is_kept(self) -> None:
        local = Thresholds("cloud", CLOUD, 0.7).rescaled_to("mini", MINI)
        assert local.model == "mini"
        assert local.lookup("en") == pytest.approx(0.45)
        assert local.lookup("de") == pytest.approx(0.245 * 0.7 / 0.5)
        assert local.lookup("ja") == pytest.approx(0.295 * 0.7 / 0.56)  # the server's default is its reference

    def test_only_the_overridden_language_moves(self) -> None:
        local = Thresholds("cloud", CLOUD, {"de": 0.25}).rescaled_to("mini", MINI)
        assert local.lookup("de") == pytest.approx(0.245 / 2)
        assert local.lookup("en") == 0.36

    def test_at_most_one(self) -> None:
        assert Thresholds("c", Calibration({"en": 0.1}, 0.1), 0.9).rescaled_to("mini", MINI).lookup("en") == 1.0

    def test_new_overrides_after_it_are_on_the_first_model_s_scale(self) -> None:
        local = Thresholds("cloud", CLOUD).rescaled_to("mini", MINI).with_overrides(0.7)
        assert local.lookup("en") == pytest.approx(0.45)

    def test_no_reference_no_scale(self) -> None:
        assert Thresholds("cloud", None, 0.7).rescaled_to("mini", MINI).lookup("en") == 0.7

    def test_a_reference_of_zero_is_no_scale(self) -> None:
        assert Thresholds("c", Calibration({"en": 0.0}, 0.5), 0.7).rescaled_to("mini", MINI).lookup("en") == 0.7

    def test_twice_keeps_the_first_reference(self) -> None:
        other = Calibration({}, 0.5)
        local = Thresholds("cloud", CLOUD, 0.7).rescaled_to("mini", MINI).rescaled_to("other", other)
        assert local.lookup("en") == pytest.approx(0.5 * 0.7 / 0.56)

    @given(override=unit, language=st.sampled_from(["en", "de", "fr", "sv", None]))
    def test_stays_a_probability_and_keeps_the_order(self, override: float, language: str | None) -> None:
        higher = min(1.0, override + 0.1)
        low = Thresholds("cloud", CLOUD, override).rescaled_to("mini", MINI).lookup(language)
        high = Thresholds("cloud", CLOUD, higher).rescaled_to("mini", MINI).lookup(language)
        assert low is not None
        assert high is not None
        assert 0.0 <= low <= high <= 1.0


class TestBackchannel:
    OFFERED = Calibration({"en": 0.5}, 0.5, {"en": 0.4, "de": 0.0}, 0.3)

    def test_lookup(self) -> None:
        table = Thresholds("m", self.OFFERED)
        assert table.lookup_backchannel("en") == 0.4
        assert table.lookup_backchannel("fr") == 0.3
        assert table.lookup_backchannel("de") is None  # not positive

    def test_override(self) -> None:
        table = Thresholds("m", self.OFFERED).with_backchannel_overrides({"en": 0.9, "fr": 0.0})
        assert table.lookup_backchannel("en") == 0.9
        assert table.lookup_backchannel("fr") is None

    @pytest.mark.parametrize(
        "table",
        [
            Thresholds("m", None, backchannel_overrides=0.5),
            Thresholds("m", Calibration({"en": 0.5}, 0.5), backchannel_overrides=0.5),
            Thresholds("m", OFFERED, backchannel_overrides=0.5, backchannels=False),
            Thresholds("m", Calibration({"en": 0.5}, 0.5, {"fr": 0.2})),
        ],
    )
    def test_off(self, table: Thresholds) -> None:
        assert table.lookup_backchannel("en") is None


class TestValues:
    def test_immutable(self) -> None:
        given_by_user = {"de": 0.4}
        table = Thresholds("m", MINI, given_by_user)
        given_by_user["de"] = 0.9
        assert table.lookup("de") == 0.4
        with pytest.raises(dataclasses.FrozenInstanceError):
            table.overrides = 0.1  # type: ignore[misc]
        with pytest.raises(TypeError):
            table.overrides["de"] = 0.1  # type: ignore[index]

    def test_changes_are_new_values(self) -> None:
        table = Thresholds("m", MINI)
        assert table.with_overrides(0.9).lookup("en") == 0.9
        assert table.with_calibration(CLOUD).lookup("en") == 0.56
        assert table.lookup("en") == 0.36

    @pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, object()])
    def test_range_is_checked(self, value: object) -> None:
        with pytest.raises(ValueError, match="unlikely_threshold") as raised:
            check_probability(value, "unlikely_threshold")
        assert "between 0 and 1" in str(raised.value)

    def test_the_language_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"unlikely_threshold\['de'\] must be between 0 and 1, got 1.5"):
            Thresholds("m", MINI, {"de": 1.5})
        with pytest.raises(ValueError, match="backchannel_threshold must be between 0 and 1"):
            Thresholds("m", MINI, backchannel_overrides=2)

    @pytest.mark.parametrize("tag", ["multi", "", "und", 5])
    def test_keys_must_name_a_language(self, tag: object) -> None:
        with pytest.raises(ValueError, match="names no language"):
            normalize_overrides({tag: 0.5}, "unlikely_threshold")  # type: ignore[dict-item]

    def test_two_values_for_one_language(self) -> None:
        with pytest.raises(ValueError, match="two thresholds for 'pt'"):
            normalize_overrides({"pt-BR": 0.5, "pt-PT": 0.4}, "unlikely_threshold")
        assert normalize_overrides({"pt-BR": 0.5, "pt-PT": 0.5}, "x") == {"pt": 0.5}

    def test_nothing(self) -> None:
        assert normalize_overrides(None, "x") is None
        assert normalize_overrides({}, "x") is None


def test_a_table_is_made_of_a_name_and_calibrations() -> None:
    with pytest.raises(TypeError, match="model must be a model's full name, got int"):
        Thresholds(3, MINI)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="calibration must be a Calibration or None, got dict"):
        Thresholds("m", {"en": 0.5})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="reference must be a Calibration or None, got float"):
        Thresholds("m", MINI, reference=0.5)  # type: ignore[arg-type]
