"""The console's wire: framing and translation."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol.agent_pb import agent_session as pb

from eot_core.cli.broker import events as ev
from eot_core.cli.broker import protocol

MESSAGES = [
    protocol.ping("1"),
    protocol.audio_input(bytes(1920)),
    protocol.playback_finished(),
    protocol.get_session_state("2"),
]


@given(cuts=st.lists(st.integers(1, 700), min_size=1, max_size=30))
def test_messages_come_back_however_the_bytes_were_cut(cuts: list[int]) -> None:
    stream = b"".join(map(protocol.encode, MESSAGES))
    decoder = protocol.MessageDecoder()
    got = []
    for cut in [*cuts, len(stream)]:
        got += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert got == MESSAGES


def test_the_framing_is_that_of_livekit() -> None:
    data = protocol.encode(protocol.ping("x"))
    assert struct.unpack(">I", data[:4])[0] == len(data) - 4
    assert pb.AgentSessionMessage.FromString(data[4:]).request.HasField("ping")


def test_a_frame_of_audio_says_what_it_is() -> None:
    frame = protocol.audio_input(bytes(1920)).audio_input
    assert (frame.sample_rate, frame.num_channels, frame.samples_per_channel) == (48_000, 1, 960)


def test_messages_over_the_limit_are_refused_both_ways() -> None:
    with pytest.raises(protocol.ProtocolError, match="over the limit"):
        protocol.encode(protocol.audio_input(bytes(protocol.MAX_MESSAGE_SIZE)))
    with pytest.raises(protocol.ProtocolError, match="was announced"):
        protocol.MessageDecoder().feed(struct.pack(">I", protocol.MAX_MESSAGE_SIZE + 1))
    body = protocol.MAX_MESSAGE_SIZE
    assert protocol.MessageDecoder().feed(struct.pack(">I", body) + bytes(10)) == []


def test_bytes_that_are_no_message() -> None:
    with pytest.raises(protocol.ProtocolError, match="not an AgentSessionMessage"):
        protocol.MessageDecoder().feed(struct.pack(">I", 3) + b"\xff\xff\xff")


def translate(event: pb.AgentSessionEvent) -> ev.Event | None:
    return protocol.to_event(event, 1.5, lambda wall: wall - 1000.0)


def test_every_event_that_has_a_class() -> None:
    Session = pb.AgentSessionEvent
    eot = Session.EotPrediction(probability=0.25, threshold=0.5)
    eot.inference_duration.FromMilliseconds(20)
    eot.delay.FromMilliseconds(1300)
    usage = pb.AgentSessionUsage(
        model_usage=[
            pb.ModelUsage(eot=pb.EotModelUsage(provider="p", model="m", total_requests=3)),
            pb.ModelUsage(llm=pb.LLMModelUsage(provider="q", model="n")),
            pb.ModelUsage(),
        ]
    )
    cases = [
        (
            Session(user_state_changed=Session.UserStateChanged(old_state=pb.US_AWAY, new_state=pb.US_SPEAKING)),
            ev.UserStateChanged(1.5, None, "away", "speaking"),
        ),
        (
            Session(agent_state_changed=Session.AgentStateChanged(old_state=pb.AS_IDLE, new_state=pb.AS_THINKING)),
            ev.AgentStateChanged(1.5, None, "idle", "thinking"),
        ),
        (
            Session(user_input_transcribed=Session.UserInputTranscribed(transcript="hi", is_final=True)),
            ev.UserInputTranscribed(1.5, None, "hi", True),
        ),
        (Session(eot_prediction=eot), ev.EotPredicted(1.5, None, 0.25, 0.5, 0.02, 1.3)),
        (
            Session(session_usage_updated=Session.SessionUsageUpdated(usage=usage)),
            ev.UsageUpdated(1.5, None, (ev.ModelUsage("eot", "p", "m", 3), ev.ModelUsage("llm", "q", "n", 0))),
        ),
        (Session(error=Session.Error(message="broken")), ev.AgentError(1.5, None, "broken")),
        (
            Session(agent_false_interruption=Session.AgentFalseInterruption(resumed=True)),
            ev.OtherEvent(1.5, None, "agent_false_interruption"),
        ),
        (Session(), None),
    ]
    for message, expected in cases:
        assert translate(message) == expected


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (pb.USER, "user"),
        (pb.ASSISTANT, "assistant"),
        (pb.SYSTEM, "system"),
        (pb.DEVELOPER, "developer"),
        (9, "unknown"),
    ],
)
def test_messages_of_every_role(role: int, name: str) -> None:
    item = pb.ChatContext.ChatItem()
    item.message.role = role  # type: ignore[assignment]
    item.message.content.add(text="one")
    item.message.content.add()
    item.message.content.add(text="two")
    item.message.interrupted = True
    event = pb.AgentSessionEvent(conversation_item_added=pb.AgentSessionEvent.ConversationItemAdded(item=item))
    assert translate(event) == ev.MessageAdded(1.5, None, name, "one\ntwo", True)  # type: ignore[arg-type]


def test_the_agents_times_become_positions() -> None:
    item = pb.ChatContext.ChatItem()
    item.message.role = pb.USER
    item.message.metrics.stopped_speaking_at.FromMilliseconds(1_001_000)
    item.message.metrics.end_of_turn_delay = 0.25
    event = pb.AgentSessionEvent(conversation_item_added=pb.AgentSessionEvent.ConversationItemAdded(item=item))
    event.created_at.FromMilliseconds(1_001_400)
    message = translate(event)
    assert isinstance(message, ev.MessageAdded)
    assert message.occurred_at == pytest.approx(1.4)
    assert message.committed_at == pytest.approx(1.25)


def test_an_item_that_is_not_a_message_says_nothing() -> None:
    item = pb.ChatContext.ChatItem(agent_handoff=pb.AgentHandoff(new_agent_id="b"))
    event = pb.AgentSessionEvent(conversation_item_added=pb.AgentSessionEvent.ConversationItemAdded(item=item))
    assert translate(event) is None
