// The sound of alerts: which alerts ring (pure), and one siren made with WebAudio, so that nothing is fetched and a storm of
// alerts is still one sound. The loop runs in the audio thread: a page in the background rings as well.
import type { Alert } from "./api";
import type { Calls } from "./board";
import { isCalling, isWaiting } from "./board";

export type Tune = "urgent" | "major" | "call";
export type Armed = "armed" | "blocked" | "unsupported";

/** Say whether an alert rings: urgent, major or a call that goes on, nobody acknowledged it, and neither a late report nor a drill. */
export function rings(alert: Alert, calling: boolean): boolean {
  const loud = alert.severity === "urgent" || alert.severity === "major" || calling;
  return loud && isWaiting(alert) && !alert.late && !alert.exercise;
}

const LOUDEST: Tune[] = ["urgent", "major", "call"];
const tuneOf = (alert: Alert): Tune => (alert.severity === "urgent" ? "urgent" : alert.severity === "major" ? "major" : "call");

/** Return the one tune for all alerts that ring and are not silenced; null is silence. */
export function tuneFor(alerts: Iterable<Alert>, { calls, silenced }: { calls: Calls; silenced: ReadonlySet<string> }): Tune | null {
  const wanted = new Set<Tune>();
  for (const alert of alerts) if (rings(alert, isCalling(alert, calls)) && !silenced.has(alert.id)) wanted.add(tuneOf(alert));
  return LOUDEST.find((tune) => wanted.has(tune)) ?? null;
}

/** Tones of one turn: start and length in seconds, pitch in hertz; the turn repeats. */
const TUNES: Record<Tune, { turnS: number; tones: [startS: number, lengthS: number, pitchHz: number][] }> = {
  urgent: { turnS: 1.6, tones: [[0, 0.22, 880], [0.26, 0.22, 660], [0.52, 0.22, 880], [0.78, 0.22, 660]] },
  major: { turnS: 4, tones: [[0, 0.3, 587], [0.4, 0.3, 587]] },
  call: { turnS: 4, tones: [[0, 0.5, 659], [0.55, 0.9, 523]] },
};
const LOUDNESS = 0.5;
const EDGE_S = 0.015;

/** Return the samples of one turn of a tune, -1 to 1, with soft edges so that it does not click. */
export function samples(tune: Tune, rateHz: number): Float32Array<ArrayBuffer> {
  const { turnS, tones } = TUNES[tune];
  const wave = new Float32Array(Math.round(turnS * rateHz));
  for (const [startS, lengthS, pitchHz] of tones) {
    const first = Math.round(startS * rateHz);
    const count = Math.round(lengthS * rateHz);
    for (let i = 0; i < count; i += 1) {
      const edge = Math.min(1, i / (EDGE_S * rateHz), (count - i) / (EDGE_S * rateHz));
      const phase = (2 * Math.PI * pitchHz * i) / rateHz;
      wave[first + i] = LOUDNESS * edge * (Math.sin(phase) + 0.3 * Math.sin(3 * phase)) / 1.3;
    }
  }
  return wave;
}

/** One siren per page. `onArmed` hears when the browser begins or ceases to let it sound. */
export class Siren {
  readonly #context: AudioContext | null;
  #playing: { tune: Tune; source: AudioBufferSourceNode } | null = null;

  constructor(onArmed: (armed: Armed) => void) {
    this.#context = typeof AudioContext === "undefined" ? null : new AudioContext();
    this.#context?.addEventListener("statechange", () => { onArmed(this.armed); });
  }

  get armed(): Armed {
    if (this.#context === null) return "unsupported";
    return this.#context.state === "running" ? "armed" : "blocked";
  }

  /** Ask the browser to let the page sound; it agrees only in answer to a click or a key. */
  async arm(): Promise<void> {
    await this.#context?.resume();
  }

  /** Play a tune over and over, or fall silent. Asking again for the tune that plays changes nothing. */
  play(tune: Tune | null): void {
    if (this.#playing?.tune === tune) return;
    this.#playing?.source.stop();
    this.#playing = this.#context === null || tune === null ? null : { tune, source: this.#start(this.#context, tune, true) };
  }

  /** Play one turn, so that people hear how loud it is. */
  tryOut(): void {
    if (this.#context !== null && this.#playing === null) this.#start(this.#context, "major", false);
  }

  close(): void {
    this.play(null);
    void this.#context?.close();
  }

  #start(context: AudioContext, tune: Tune, loop: boolean): AudioBufferSourceNode {
    const wave = samples(tune, context.sampleRate);
    const buffer = context.createBuffer(1, wave.length, context.sampleRate);
    buffer.copyToChannel(wave, 0);
    const source = new AudioBufferSourceNode(context, { buffer, loop });
    source.connect(context.destination);
    source.start();
    return source;
  }
}
