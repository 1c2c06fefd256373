// Records for the console's own tests: no network, no clock.
import type { Alert, Camera, Door, FaceUse } from "./api";
import { Gateway } from "./api";
import type { Person } from "./office";

export function alertOf(change: Partial<Alert> = {}): Alert {
  return {
    id: "a1", kind: "door_forced", severity: "urgent", condition: "active", workflow: "new", raised_at: "2026-11-23T12:00:00Z",
    cleared_at: null, acknowledged_at: null, acknowledged_by: null, late: false, exercise: false, count: 1,
    place: { site_id: "s1", site_name: "Garden", door_id: "d1", camera_id: null, name: "East gate", address: "Building 3" },
    receipts: [], delivery: "none", version: 1, ...change,
  };
}

export function doorOf(change: Partial<Door> = {}): Door {
  return {
    id: "d1", name: "East gate", site_id: "s1", address: "Building 3", exit_kind: "button", online: true, contact: "closed",
    lock: "locked", mode: "normal", tamper: false, alarm: "none", seen_at: "2026-11-23T12:00:00Z", ...change,
  };
}

export function cameraOf(change: Partial<Camera> = {}): Camera {
  return { id: "c1", name: "East camera", site_id: "s1", state: "live", ...change };
}

export function faceOf(use: Partial<FaceUse> = {}): NonNullable<Door["face"]> {
  return { use: { people: 60, alone: false, radius: 0, verify_radius: 0.4, why_not: ["no_liveness", "too_little_evidence"], needed_pairs: 179_911, ...use }, provider: "none" };
}

export function personOf(change: Partial<Person> = {}): Person {
  const consent = { id: "k1", purpose: "door_face", doors: ["d1"], text_version: "1", given_at: "2026-11-23T12:00:00Z", live: true };
  return { id: "p1", site_id: "s1", name: "Wang Fang", under_14: false, flats: [], consents: [consent], faces: [], may_be_asked: ["door_face"], ...change };
}

export const json = (body: unknown, status = 200): Response =>
  new Response(status === 204 ? null : JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });

export type Answers = Record<string, (init: RequestInit) => Response | Promise<Response>>;

/** A gateway that answers by "METHOD path" (path below /api/v1/, without its query) and records what it was asked. */
export function gatewayOf(answers: Answers): { gateway: Gateway; asked: { call: string; query: string; body: unknown }[] } {
  const asked: { call: string; query: string; body: unknown }[] = [];
  const gateway = new Gateway(async (path, init) => {
    const [bare = "", query = ""] = path.replace("/api/v1/", "").split("?");
    const call = `${init.method ?? "GET"} ${bare}`;
    asked.push({ call, query, body: typeof init.body === "string" ? JSON.parse(init.body) as unknown : undefined });
    const answer = answers[call];
    if (answer === undefined) throw new Error(`no answer for ${call}`);
    return answer(init);
  });
  return { gateway, asked };
}

/** An event source in the hand of a test. */
export class SourceDouble {
  readyState = 0;
  readonly #listeners = new Map<string, ((event: MessageEvent<string>) => void)[]>();

  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  close(): void {
    this.readyState = 2;
  }

  emit(type: string, data: unknown = null): void {
    this.#listeners.get(type)?.forEach((listen) => { listen(new MessageEvent(type, { data: JSON.stringify(data) })); });
  }

  open(): void {
    this.readyState = 1;
    this.emit("open");
  }

  fail(readyState: 0 | 2): void {
    this.readyState = readyState;
    this.emit("error");
  }
}
