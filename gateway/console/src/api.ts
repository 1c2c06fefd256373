// The gateway's HTTP API as this console uses it: record types, one request function, one error. Kinds and states that a
// newer gateway may add arrive as plain strings and are shown by name; nothing here decides what to draw.

export type Known<T extends string> = T | (string & {});
export type AlertKind =
  | "door_forced" | "door_held_open" | "door_tampered" | "door_faulted" | "duress" | "emergency_release"
  | "device_lost" | "device_gap" | "camera_lost" | "camera_covered" | "camera_moved"
  | "camera_defocused" | "camera_frozen" | "camera_clock_skew" | "camera_tampered" | "power_cut" | "battery_low"
  | "door_call" | "delivery_paused" | "edge_lost";
export type Severity = "urgent" | "major" | "minor" | "info";
export type Workflow = "new" | "acknowledged" | "escalated" | "resolved";
export type Disposition = "handled" | "false_alarm" | "drill" | "no_action";

export type Right = "alerts:read" | "alerts:act" | "doors:read" | "doors:unlock" | "cameras:read" | "access:read" | "people:read" | "people:write" | "devices:write";
export interface User { id: string; username: string; role: string; scopes: Known<Right>[] }
export interface Place {
  site_id: string; site_name: string; door_id?: string | null; camera_id?: string | null; name: string; address: string;
  timezone?: string;
}
export interface Receipt { state: Known<"received" | "accepted" | "returned" | "dispatched" | "on_scene" | "closed">;
  at: string; reference?: string | null; note?: string | null }
export interface Alert {
  id: string; kind: Known<AlertKind>; severity: Known<Severity>; condition: Known<"active" | "cleared">;
  workflow: Known<Workflow>; raised_at: string; cleared_at: string | null; acknowledged_at: string | null;
  acknowledged_by: string | null; resolved_at?: string | null; resolved_by?: string | null; disposition?: string | null; late: boolean; exercise: boolean; count: number; place: Place; receipts: Receipt[];
  delivery: Known<"pending" | "delivered" | "dead" | "none">; version: number;
}
/** How an edge uses faces at a door: `models.calibration.FaceUse`. */
export interface FaceUse { people: number; alone: boolean; radius: number; verify_radius: number; why_not: Known<WhyNot>[]; needed_pairs: number }
export type WhyNot =
  | "off" | "high_security" | "no_evidence" | "too_little_evidence" | "gallery_too_large" | "no_liveness" | "liveness_incomplete"
  | "not_asked" | "not_assessed" | "no_camera" | "no_liveness_model";
export interface Door {
  id: string; name: string; site_id: string; address: string; exit_kind: Known<"sensor" | "button" | "mechanical" | "none">;
  online: boolean; contact: Known<"open" | "closed" | "unknown">; lock: Known<"locked" | "unlocked" | "unknown">;
  mode: Known<"normal" | "locked_down" | "evacuating" | "held_open">; tamper: boolean;
  alarm: Known<"none" | "forced" | "held">; seen_at: string | null;
  bypass?: { kinds: Known<AlertKind>[]; reason: string; by: string; until: string } | null;
  /** Why its edge cannot serve it, in the edge's words. */
  trouble?: string | null;
  factors?: string[]; face?: { use: FaceUse; provider: Known<"none" | "parallax" | "model" | "device"> } | null;
}
/** `detail` lists what is wrong with its picture (`models.events.Trouble`), or says how its stream stands. */
export interface Camera { id: string; name: string; site_id: string; door_id?: string | null; registered?: boolean;
  state: Known<"starting" | "live" | "lost" | "refused" | "unknown">; detail?: string; trouble?: string | null; seen_at?: string | null }
export interface Page<T> { items: T[]; next?: string | null }

const TIMEOUT_MS = 10_000;
const PAGE_LIMIT = 10;

/** What a request failed with: HTTP status (0 if the gateway was not reached), the problem's own words, its stable word, the field. */
export class Problem extends Error {
  readonly status: number;
  readonly reason: string;
  readonly where: string;
  constructor(status: number, detail: string, { reason = "", where = "" }: { reason?: string; where?: string } = {}) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.reason = reason;
    this.where = where;
  }
}

/** What a request carries besides its address: a record or a file, why it is made (it goes on record), the version that was seen. */
export interface Carried { body?: object; file?: Blob; why?: string; version?: number; timeoutMs?: number }

async function problem(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const words = body !== null && typeof body === "object" ? (body as { detail?: unknown; title?: unknown; reason?: unknown; code?: unknown; where?: unknown }) : {};
  const detail = [words.detail, words.title].find((word) => typeof word === "string" && word !== "");
  const reason = [words.reason, words.code].find((word) => typeof word === "string");
  const told = { reason: typeof reason === "string" ? reason : "", where: typeof words.where === "string" ? words.where : "" };
  return new Problem(response.status, typeof detail === "string" ? detail : `HTTP ${response.status}`, told);
}

export type Fetch = (path: string, init: RequestInit) => Promise<Response>;

/** The calls that the console makes. `fetcher` is the browser's `fetch`; tests pass a function. */
export class Gateway {
  readonly #fetch: Fetch;

  constructor(fetcher: Fetch = (path, init) => fetch(path, init)) {
    this.#fetch = fetcher;
  }

  async #send(method: string, path: string, { body, file, why, version, timeoutMs }: Carried = {}): Promise<Response> {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (file !== undefined) headers["Content-Type"] = file.type;
    if (why !== undefined && why !== "") headers["Gatehouse-Reason"] = encodeURIComponent(why);
    if (version !== undefined) headers["If-Match"] = `"${version}"`;
    const signal = AbortSignal.timeout(timeoutMs ?? TIMEOUT_MS);
    const init: RequestInit = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined || file !== undefined) init.body = file ?? JSON.stringify(body);
    const response = await this.#fetch(`/api/v1/${path}`, init).catch((cause: unknown) => {
      throw new Problem(0, cause instanceof Error ? cause.message : String(cause));
    });
    if (!response.ok) throw await problem(response);
    return response;
  }

  /** Send a request whose answer is of no interest. */
  async tell(method: string, path: string, carried: Carried = {}): Promise<void> {
    await this.#send(method, path, carried);
  }

  /** Send a request and return the record that answers it. */
  async ask<T>(method: string, path: string, carried: Carried = {}): Promise<T> {
    const response = await this.#send(method, path, carried);
    return (await response.json().catch(() => {
      throw new Problem(0, `unreadable answer from ${path}`);
    })) as T;
  }

  /** Send a request and return the file that answers it. */
  async file(path: string, carried: Carried = {}): Promise<Blob> {
    return (await this.#send("GET", path, carried)).blob();
  }

  async session(): Promise<User> {
    return (await this.ask<{ user: User }>("GET", "session")).user;
  }

  async logIn(username: string, password: string): Promise<User> {
    return (await this.ask<{ user: User }>("POST", "session", { body: { username, password } })).user;
  }

  async logOut(): Promise<void> {
    await this.tell("DELETE", "session");
  }

  async openAlerts(): Promise<{ alerts: Alert[]; complete: boolean }> {
    const alerts: Alert[] = [];
    let cursor: string | null = null;
    for (let turn = 0; turn < PAGE_LIMIT; turn += 1) {
      const page: Page<Alert> = await this.alerts("open", cursor);
      alerts.push(...page.items);
      cursor = page.next ?? null;
      if (cursor === null) return { alerts, complete: true };
    }
    return { alerts, complete: false };
  }

  alerts(status: "open" | "all", cursor: string | null): Promise<Page<Alert>> {
    const from = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    return this.ask("GET", `alerts?status=${status}&limit=100${from}`);
  }

  alert(alertId: string): Promise<Alert> {
    return this.ask("GET", `alerts/${encodeURIComponent(alertId)}`);
  }

  acknowledge(alertId: string, note = ""): Promise<Alert> {
    return this.ask("POST", `alerts/${encodeURIComponent(alertId)}/acknowledge`, { body: note === "" ? {} : { note } });
  }

  resolve(alertId: string, disposition: Disposition, note: string): Promise<Alert> {
    const body = note === "" ? { disposition } : { disposition, note };
    return this.ask("POST", `alerts/${encodeURIComponent(alertId)}/resolve`, { body });
  }

  async doors(): Promise<Door[]> {
    return (await this.ask<Page<Door>>("GET", "doors")).items;
  }

  async cameras(): Promise<Camera[]> {
    return (await this.ask<Page<Camera>>("GET", "cameras")).items;
  }
}
