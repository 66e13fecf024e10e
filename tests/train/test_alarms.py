from dataclasses import replace

from kinema.train.log import PATIENCE, Alarms
from tests.train.tiny import TinyMethod, tiny_config, tiny_fit


def test_a_warning_is_said_once_when_it_has_held_and_again_after_it_was_gone():
    said = []
    alarms = Alarms(said.append, patience=3)
    for step, raised in enumerate(["a", "ab", "a", "ab", "ab", "b", "b", "a", "a", "a"], start=1):
        alarms.update(step, list(raised))
    assert said == ["warning at step 3: a", "warning at step 6: b", "warning at step 10: a"]


class _Worried(TinyMethod):
    def alarms(self, measured):
        return ["it goes wrong"] if measured["terms/pixel"] > 0 else []


def test_the_loop_says_what_a_method_warns_of(tmp_path, capsys):
    config = replace(tiny_config(), log_every_steps=1)
    tiny_fit(tmp_path, config=config, method=_Worried())
    assert capsys.readouterr().err.count(f"warning at step {PATIENCE}: it goes wrong") == 1
