"""Makes eot_core/data/demo.wav and demo.txt: a request with two pauses in the middle of the turn.

    python examples/make_demo_audio.py [FOLDER]

Needs flite 2.2 (Debian and Ubuntu: apt install flite) and numpy. The whole sentence is spoken at once, so that its
melody goes on over the pauses, as that of a person who is thinking; the pauses are cut into it afterwards, where flite
says that a part ends. Noise at -70 dB below full scale takes the place of digital silence, which no microphone gives.
"""

import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

PARTS = ("Hello, I need um", "a table for four people, on uh", "Friday the twenty first of June please.")
WRITTEN = ("Hello, I need, um,", "a table for four people on, uh,", "Friday the twenty-first of June, please.")
PAUSES = (0.9, 1.0)  # seconds after each part but the last
VOICE = "rms"
STRETCH = 1.1  # durations, 1.0 being flite's own
LEAD, TAIL = 0.5, 0.6  # seconds of noise around it
PEAK = 0.42  # of full scale
NOISE_DBFS = -70.0
RATE = 16_000  # Hz, that of the voice


def speak(text: str) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Samples, and each phone with the second at which it ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        command = ["flite", "-voice", VOICE, "--setf", f"duration_stretch={STRETCH}", "-psdur", "-t", text, "-o", path]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with wave.open(str(path), "rb") as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    return samples, [(phone, float(end)) for phone, end in re.findall(r"(\S+):(\S+)", told)]


def pieces() -> list[np.ndarray]:
    """The parts, cut out of the whole sentence."""
    samples, phones = speak(" ".join(PARTS))
    found = []
    at = next(end for phone, end in phones if phone == "pau") - 0.02
    for number in range(1, len(PARTS) + 1):
        # A part ends with as many phones as flite needs for everything up to there.
        spoken = sum(phone != "pau" for phone, _ in speak(" ".join(PARTS[:number]))[1])
        index = [i for i, (phone, _) in enumerate(phones) if phone != "pau"][spoken - 1]
        end = phones[index][1]
        piece = samples[int(at * RATE) : int((end + 0.02) * RATE)].copy()
        fade = int(0.03 * RATE)
        piece[-fade:] *= np.linspace(1.0, 0.0, fade)
        found.append(piece)
        # flite makes a short pause of its own at a comma; ours takes its place.
        at = phones[index + 1][1] if index + 1 < len(phones) and phones[index + 1][0] == "pau" else end
    return found


def main(folder: Path) -> None:
    speech = pieces()
    gaps = [*PAUSES, TAIL]
    sound = [np.zeros(int(LEAD * RATE))]
    for piece, gap in zip(speech, gaps, strict=True):
        sound += [piece, np.zeros(int(gap * RATE))]
    samples = np.concatenate(sound)
    samples *= PEAK * 32767 / np.abs(samples).max()
    samples += np.random.default_rng(0).normal(0.0, 32768 * 10 ** (NOISE_DBFS / 20), len(samples))
    with wave.open(str(folder / "demo.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(samples).astype("<i2").tobytes())
    (folder / "demo.txt").write_text("\n".join(WRITTEN) + "\n", encoding="utf-8")
    print(f"{folder / 'demo.wav'}: {len(samples) / RATE:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "eot_core" / "data")
