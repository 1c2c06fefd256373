// What the page knows, as one immutable value and one pure function that moves it: open alerts, doors, cameras, and how fresh
// they are. No network, no clock, no React.
import type { Alert, Camera, Door, Receipt } from "./api";

export type Link = "connecting" | "live" | "lost";
export interface Board {
  readonly alerts: ReadonlyMap<string, Alert>;
  readonly doors: ReadonlyMap<string, Door>;
  readonly cameras: ReadonlyMap<string, Camera>;
  readonly link: Link;
  /** When the feed or a reload last said something (ms since the epoch); null before the first answer. */
  readonly heardAtMs: number | null;
  /** False if there are more open alerts than the page loads. */
  readonly complete: boolean;
  readonly newest: Alert | null;
}

export type News =
  | { type: "alert"; alert: Alert; raised: boolean }
  | { type: "door"; door: Door }
  | { type: "camera"; camera: Camera }
  | { type: "receipt"; alertId: string; receipt: Receipt };
export type Step =
  | News
  | { type: "synced"; alerts: Alert[]; complete: boolean; doors: Door[]; cameras: Camera[] }
  | { type: "link"; link: Link }
  | { type: "heard"; atMs: number }
  | { type: "emptied" };

export const EMPTY: Board = {
  alerts: new Map(), doors: new Map(), cameras: new Map(), link: "connecting", heardAtMs: null, complete: true, newest: null,
};

function put<T>(map: ReadonlyMap<string, T>, key: string, value: T): ReadonlyMap<string, T> {
  return new Map(map).set(key, value);
}

function keyed<T extends { id: string }>(items: T[]): ReadonlyMap<string, T> {
  return new Map(items.map((item) => [item.id, item]));
}

function without<T>(map: ReadonlyMap<string, T>, key: string): ReadonlyMap<string, T> {
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

function withAlert(board: Board, { alert, raised }: { alert: Alert; raised: boolean }): Board {
  const held = board.alerts.get(alert.id);
  if (held !== undefined && held.version > alert.version) return board;
  if (alert.workflow === "resolved") return { ...board, alerts: without(board.alerts, alert.id) };
  const newest = raised && held === undefined ? alert : board.newest;
  return { ...board, alerts: put(board.alerts, alert.id, alert), newest };
}

function withReceipt(board: Board, alertId: string, receipt: Receipt): Board {
  const alert = board.alerts.get(alertId);
  const known = alert?.receipts.some((held) => held.state === receipt.state && held.at === receipt.at);
  if (alert === undefined || known === true) return board;
  return { ...board, alerts: put(board.alerts, alertId, { ...alert, receipts: [...alert.receipts, receipt] }) };
}

const isOlder = (one: string | null | undefined, other: string | null | undefined): boolean =>
  one != null && other != null && Date.parse(one) < Date.parse(other);

/** Return the board after a step. News older than what is held changes nothing, so replays and races are harmless. */
export function advance(board: Board, step: Step): Board {
  switch (step.type) {
    case "alert":
      return withAlert(board, step);
    case "door":
      return isOlder(step.door.seen_at, board.doors.get(step.door.id)?.seen_at)
        ? board
        : { ...board, doors: put(board.doors, step.door.id, step.door) };
    case "camera":
      return isOlder(step.camera.seen_at, board.cameras.get(step.camera.id)?.seen_at)
        ? board
        : { ...board, cameras: put(board.cameras, step.camera.id, step.camera) };
    case "receipt":
      return withReceipt(board, step.alertId, step.receipt);
    case "synced":
      return { ...board, alerts: keyed(step.alerts), complete: step.complete, doors: keyed(step.doors), cameras: keyed(step.cameras) };
    case "link":
      return { ...board, link: step.link };
    case "heard":
      return { ...board, heardAtMs: step.atMs };
    case "emptied":
      return EMPTY;
  }
}

/** Say whether a person must still acknowledge the alert. */
export function isWaiting(alert: Alert): boolean {
  return alert.acknowledged_at === null && (alert.workflow === "new" || alert.workflow === "escalated");
}

/** The calls that go on, by door. */
export type Calls = ReadonlyMap<string, Alert>;

/** An edge ends a ring a minute after the last press; the rest is for who presses again, and for the clock of this computer. */
const RINGS_MS = 300_000;

/** Return who stands at a door station and rings now: no late report, nothing old, and at a door that can be opened. */
export function callsByDoor({ alerts, doors }: Pick<Board, "alerts" | "doors">, nowMs: number): Calls {
  const rings = ({ kind, condition, workflow, late, raised_at, place }: Alert): boolean =>
    kind === "door_call" && condition === "active" && workflow !== "resolved" && !late
    && nowMs - Date.parse(raised_at) < RINGS_MS && doors.get(place.door_id ?? "")?.online === true;
  return new Map([...alerts.values()].filter(rings).map((alert) => [alert.place.door_id ?? "", alert]));
}

/** Say whether an alert is a call that goes on. */
export const isCalling = (alert: Alert, calls: Calls): boolean => calls.get(alert.place.door_id ?? "")?.id === alert.id;

const RANK = ["urgent", "call", "major", "minor", "info"];

function rank(alert: Alert, calls: Calls): number {
  const severity = RANK.indexOf(isCalling(alert, calls) ? "call" : alert.severity);
  const turn = !isWaiting(alert) ? 20 : alert.late || alert.exercise ? 10 : 0;
  return turn + (severity === -1 ? RANK.indexOf("major") : severity);
}

/** Return alerts as an operator works them off: what waits first (late reports and drills after the rest), then by severity (who rings now after what is urgent), then the newest. */
export function inOrder(alerts: Iterable<Alert>, calls: Calls): Alert[] {
  return [...alerts].sort((one, other) => rank(one, calls) - rank(other, calls) || Date.parse(other.raised_at) - Date.parse(one.raised_at));
}

/** Compare names as people sort them: building 2 comes before building 10. */
export const byName = (one: { name: string }, other: { name: string }): number => NAMES.compare(one.name, other.name);
const NAMES = new Intl.Collator("zh-CN", { numeric: true });

/** Return doors as worth a look: alarms first, then tamper, out of reach, open, and the quiet ones by name. */
export function byConcern(doors: Iterable<Door>): Door[] {
  const concern = (door: Door): number => {
    if (door.alarm !== "none") return 0;
    if (door.tamper) return 1;
    if (!door.online) return 2;
    if (door.mode !== "normal" || door.bypass != null) return 3;
    return door.contact === "open" ? 4 : 5;
  };
  return [...doors].sort((one, other) => concern(one) - concern(other) || byName(one, other));
}
