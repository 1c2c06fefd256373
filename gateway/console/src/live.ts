// Keeps the board true: the event feed brings changes, a reload brings everything (at each connection and every half minute).
// The feed is opened first and what it says during a reload is applied again on top, so nothing falls between the two.
import type { Alert, Camera, Door, Gateway, Receipt, Right } from "./api";
import { Problem } from "./api";
import type { News, Step } from "./board";

const RELOAD_MS = 30_000;
const PATIENCE_MS = 10_000;
const RETRY_MS = { first: 1_000, most: 15_000 };
const OPEN = 1;
const CLOSED = 2;

/** What the feed needs of EventSource; tests pass a double. */
export interface Source {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void;
  close(): void;
}
export interface Surroundings {
  gateway: Gateway;
  /** What the person may see; nothing else is asked for. */
  may: (right: Right) => boolean;
  openSource: () => Source;
  dispatch: (step: Step) => void;
  onExpired: () => void;
  now: () => number;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    console.warn("unreadable event", cause);
    return null;
  }
}

/** Return what an event of the feed says, or null if it is not for us (another kind, or unreadable). */
export function newsOf(type: string, text: string): News | null {
  const data = parse(text);
  if (data === null || typeof data !== "object") return null;
  if (type === "receipt") {
    const { alert_id, receipt } = data as { alert_id?: string; receipt?: Receipt };
    return alert_id === undefined ? null : { type, alertId: alert_id, receipt: receipt ?? (data as Receipt) };
  }
  if (typeof (data as { id?: unknown }).id !== "string") return null;
  if (type === "alert") return { type, alert: data as Alert, raised: (data as { change?: string }).change === "raised" };
  if (type === "door") return { type, door: data as Door };
  return type === "camera" ? { type, camera: data as Camera } : null;
}

/** The live connection of one logged-in person. It retries for ever; an expired session stops it and is told once. */
export class LiveFeed {
  readonly #around: Surroundings;
  #source: Source | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MS.first;
  #heardDuringReload: News[] = [];
  #reload: "idle" | "running" | "again" = "idle";
  /** True if the feed has said nothing since everything was last loaded. */
  #quiet = false;
  #stopped = false;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  start(): void {
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  /** Look now, for example because the page came back into view or the network came back. */
  nudge(): void {
    if (!this.#stopped) this.#lookIn(0);
  }

  #connect(): void {
    this.#source?.close();
    const source = this.#around.openSource();
    this.#source = source;
    this.#quiet = false;
    source.addEventListener("open", () => { if (source === this.#source) this.#reloadAll(); });
    source.addEventListener("error", () => { if (source === this.#source) this.#lost(); });
    for (const type of ["alert", "door", "camera", "receipt"]) {
      source.addEventListener(type, (event) => { if (source === this.#source) this.#hear(type, event.data); });
    }
    this.#lookIn(PATIENCE_MS);
  }

  #hear(type: string, text: string): void {
    this.#quiet = false;
    const news = newsOf(type, text);
    this.#around.dispatch({ type: "heard", atMs: this.#around.now() });
    if (news === null) return;
    if (this.#reload !== "idle") this.#heardDuringReload.push(news);
    this.#around.dispatch(news);
  }

  #lost(): void {
    if (this.#stopped) return;
    this.#quiet = false;
    this.#around.dispatch({ type: "link", link: "lost" });
    this.#lookIn(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.most);
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.#look(); }, ms);
  }

  /** A feed that said nothing since the last load may be dead without knowing (the gateway lost power): open it anew. */
  #look(): void {
    if (this.#quiet && this.#source?.readyState === OPEN) this.#connect();
    else this.#reloadAll();
  }

  #reloadAll(): void {
    if (this.#stopped) return;
    if (this.#reload !== "idle") {
      this.#reload = "again"; // what runs may have begun before the feed was open
      return;
    }
    this.#reload = "running";
    this.#heardDuringReload = [];
    this.#loadAll()
      .catch((cause: unknown) => { this.#failed(cause); })
      .finally(() => {
        const again = this.#reload === "again";
        this.#reload = "idle";
        if (again) this.#reloadAll();
      });
  }

  async #loadAll(): Promise<void> {
    const { gateway, may, dispatch, now } = this.#around;
    const [open, doors, cameras] = await Promise.all([
      may("alerts:read") ? gateway.openAlerts() : { alerts: [], complete: true },
      may("doors:read") ? gateway.doors() : [],
      may("cameras:read") ? gateway.cameras() : [],
    ]);
    if (this.#stopped) return;
    dispatch({ type: "synced", ...open, doors, cameras });
    this.#heardDuringReload.forEach(dispatch);
    dispatch({ type: "heard", atMs: now() });
    if (this.#source?.readyState === OPEN) {
      this.#retryMs = RETRY_MS.first;
      this.#quiet = true;
      dispatch({ type: "link", link: "live" });
      this.#lookIn(RELOAD_MS);
      return;
    }
    if (this.#source?.readyState === CLOSED) this.#connect();
    this.#lost();
  }

  #failed(cause: unknown): void {
    if (this.#stopped) return;
    if (cause instanceof Problem && cause.status === 401) {
      this.stop();
      this.#around.onExpired();
      return;
    }
    if (!(cause instanceof Problem)) console.error(cause);
    if (this.#source?.readyState === CLOSED) this.#connect();
    this.#lost();
  }
}
