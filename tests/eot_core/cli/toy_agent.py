"""A program that speaks the console protocol as a LiveKit agent does, to hold the broker against. Not a test itself."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time

from livekit.protocol.agent_pb import agent_session as pb

Message = pb.AgentSessionMessage
Session = pb.AgentSessionEvent


def main(behaviour: str, address: str) -> None:
    print(f"toy agent: {behaviour}", flush=True)
    if behaviour == "exits":
        sys.exit("cannot find my model")
    if behaviour == "never_connects":
        time.sleep(60)
    if behaviour == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(f"pids {os.getpid()} {child.pid}", flush=True)
    if behaviour == "shouts":
        print("x" * (3 << 20), flush=True)
        print("after the shout", flush=True)
        behaviour = "answers"
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        Toy(connection, behaviour).run()
    while behaviour == "stubborn":
        time.sleep(1)


class Toy:
    def __init__(self, connection: socket.socket, behaviour: str) -> None:
        self.connection = connection
        self.behaviour = behaviour
        self.frames = 0
        self.questions = 0

    def send(self, message: Message) -> None:
        data = message.SerializeToString()
        self.connection.sendall(struct.pack(">I", len(data)) + data)

    def tell(self, **event: object) -> None:
        told = Session(**event)
        told.created_at.FromNanoseconds(time.time_ns())
        self.send(Message(event=told))

    def receive(self) -> Message | None:
        header = self.exactly(4)
        if header is None:
            return None
        body = self.exactly(struct.unpack(">I", header)[0])
        message = Message()
        message.ParseFromString(body or b"")
        return message

    def exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = self.connection.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def run(self) -> None:
        while (message := self.receive()) is not None:
            match message.WhichOneof("message"):
                case "request":
                    self.questions += 1
                    if self.behaviour == "garbage":
                        self.connection.sendall(struct.pack(">I", 1 << 30))
                        continue
                    if self.behaviour == "never_ready" or self.questions == 1:
                        state = pb.AS_INITIALIZING
                    else:
                        state = pb.AS_LISTENING
                    response = pb.SessionResponse(request_id=message.request.request_id)
                    response.get_session_state.agent_state = state
                    self.send(Message(response=response))
                case "audio_input":
                    assert message.audio_input.sample_rate == 48000
                    assert message.audio_input.samples_per_channel == 960
                    self.frames += 1
                    self.hear()
                case "audio_playback_finished":
                    item = pb.ChatContext.ChatItem()
                    item.message.role = pb.ASSISTANT
                    item.message.content.add(text="Very well.")
                    self.tell(conversation_item_added=Session.ConversationItemAdded(item=item))
                    self.tell(
                        agent_state_changed=Session.AgentStateChanged(
                            old_state=pb.AS_SPEAKING, new_state=pb.AS_LISTENING
                        )
                    )

    def hear(self) -> None:
        if self.behaviour in ("deaf", "stubborn"):
            return
        if self.behaviour == "hangs_up" and self.frames == 20:
            sys.exit(0)
        if self.frames == 16:
            self.user(pb.US_LISTENING, pb.US_SPEAKING)
        if self.frames == 20 and self.behaviour == "brings a friend":
            with socket.create_connection(self.connection.getpeername()) as friend:
                print("friend was sent away" if friend.recv(1) == b"" else "friend was let in", flush=True)
            self.behaviour = "answers"
        if self.frames == 20 and self.behaviour == "breaks off":
            # A reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            time.sleep(60)
        if self.frames == 30:
            self.user(pb.US_SPEAKING, pb.US_LISTENING)
            eot = Session.EotPrediction(probability=0.75, threshold=0.5)
            eot.inference_duration.FromMilliseconds(12)
            eot.delay.FromMilliseconds(250)
            self.tell(eot_prediction=eot)
        if self.frames == 32 and self.behaviour in ("answers", "interrupted"):
            item = pb.ChatContext.ChatItem()
            item.message.role = pb.USER
            item.message.content.add(text="Hello there.")
            item.message.metrics.stopped_speaking_at.FromNanoseconds(time.time_ns() - 300_000_000)
            item.message.metrics.end_of_turn_delay = 0.3
            self.tell(conversation_item_added=Session.ConversationItemAdded(item=item))
            self.tell(agent_state_changed=Session.AgentStateChanged(old_state=pb.AS_THINKING, new_state=pb.AS_SPEAKING))
            frame = Message.ConsoleIO.AudioFrame(
                data=bytes(9600), sample_rate=48000, num_channels=1, samples_per_channel=4800
            )
            for _ in range(2):
                self.send(Message(audio_output=frame))
            if self.behaviour == "interrupted":
                self.send(Message(audio_playback_clear=Message.ConsoleIO.AudioPlaybackClear()))
            # An agent that was cut off flushes as well, and waits for the answer.
            self.send(Message(audio_playback_flush=Message.ConsoleIO.AudioPlaybackFlush()))

    def user(self, old: int, new: int) -> None:
        self.tell(user_state_changed=Session.UserStateChanged(old_state=old, new_state=new))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
