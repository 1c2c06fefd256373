// What is done at a door: open to a caller or refuse them, change its rules, bypass its alarms, give a person a card. Calls
// and their records only.
import type { AlertKind, Door, Gateway, Known, Page } from "./api";
import { Problem } from "./api";

export const FACTORS = ["card", "pin", "flat_pin", "qr", "face", "face+card", "face+pin", "card+pin"] as const;
export const PASSBACKS = ["off", "soft", "hard"] as const;
export const FAILS = ["secure", "safe"] as const;
export const EXITS = ["sensor", "button", "mechanical", "none"] as const;
export interface Rules {
  factors: Known<(typeof FACTORS)[number]>[]; passback: Known<(typeof PASSBACKS)[number]>; passback_reset_min: number; interlock: string;
  two_person: boolean; second_within_s: number; free_schedule_id: string | null; first_person: boolean; held_open_s: number;
  unlock_s: number; fail: Known<(typeof FAILS)[number]>; exit_kind: Known<(typeof EXITS)[number]>;
}
export interface DoorSettings extends Rules { id: string; name: string; site_id: string; seeded: boolean; version: number }
export interface Schedule { id: string; site_id: string; name: string }
export interface CardFormat {
  id: string; site_id: string; name: string; notation: Known<"hex" | "decimal" | "facility">; frame: number; width: number; reverse: boolean;
  keep: number; keep_from: Known<"start" | "end">;
}

/** Alarms of a door that may be bypassed; duress and the like never are. */
export const BYPASSABLE: AlertKind[] = ["door_forced", "door_held_open", "door_tampered", "door_faulted", "device_lost", "device_gap", "battery_low"];
export const SPANS_MIN = [30, 60, 240, 480, 1440];
/** The gateway takes no shorter reason for what opens a door or silences it. */
export const REASON_LEAST = 3;
const LIST_LIMIT = 500;
/** The gateway waits 8 s for a door, and answers then. */
const DOOR_MS = 15_000;
const name = encodeURIComponent;

export const unlock = (gateway: Gateway, doorId: string, reason: string): Promise<void> =>
  gateway.tell("POST", `doors/${name(doorId)}/unlock`, { body: { reason }, timeoutMs: DOOR_MS });

export const refuseCall = (gateway: Gateway, doorId: string, reason: string): Promise<void> =>
  gateway.tell("POST", `doors/${name(doorId)}/refuse-call`, { body: { reason }, timeoutMs: DOOR_MS });

export const doorSettings = (gateway: Gateway, doorId: string): Promise<DoorSettings> => gateway.ask("GET", `doors/${name(doorId)}/settings`);

export const saveRules = (gateway: Gateway, seen: DoorSettings, { changes, why }: { changes: Partial<Rules>; why: string }): Promise<DoorSettings> =>
  gateway.ask("PATCH", `doors/${name(seen.id)}/settings`, { body: changes, version: seen.version, why });

export async function schedules(gateway: Gateway, siteId: string): Promise<Schedule[]> {
  return (await gateway.ask<Page<Schedule>>("GET", `schedules?limit=${LIST_LIMIT}`)).items.filter((one) => one.site_id === siteId);
}

export const beginBypass = (gateway: Gateway, doorId: string, body: { kinds: string[]; minutes: number; reason: string }): Promise<NonNullable<Door["bypass"]>> =>
  gateway.ask("POST", `doors/${name(doorId)}/bypass`, { body });

export const endBypass = (gateway: Gateway, doorId: string): Promise<void> => gateway.tell("DELETE", `doors/${name(doorId)}/bypass`);

export async function cardFormats(gateway: Gateway, siteId: string): Promise<CardFormat[]> {
  return (await gateway.ask<Page<CardFormat>>("GET", `card-formats?limit=${LIST_LIMIT}`)).items.filter((one) => one.site_id === siteId);
}

/** Give a person a card by its canonical number: what was shown is what is kept. */
export const giveCard = (gateway: Gateway, personId: string, { number, label, why }: { number: string; label: string; why: string }): Promise<void> =>
  gateway.tell("POST", `people/${name(personId)}/credentials`, { body: { kind: "card", value: number, label }, why });

const RULES: readonly (keyof Rules)[] = [
  "factors", "passback", "passback_reset_min", "interlock", "two_person", "second_within_s", "free_schedule_id", "first_person", "held_open_s",
  "unlock_s", "fail", "exit_kind",
];

/** Return the rules of a door's settings alone. */
export function rulesOf(settings: DoorSettings): Rules {
  return Object.fromEntries(RULES.map((rule) => [rule, settings[rule]])) as unknown as Rules;
}

/** Return what differs from the rules that were loaded. */
export function changesOf(rules: Rules, seen: Rules): Partial<Rules> {
  return Object.fromEntries(RULES.filter((rule) => JSON.stringify(rules[rule]) !== JSON.stringify(seen[rule])).map((rule) => [rule, rules[rule]]));
}

/** Return the rule that a refusal is about, as in `doors.east.factors` or `body.factors.0`; null if it is none of these. */
export function ruleAtFault(cause: unknown): keyof Rules | null {
  if (!(cause instanceof Problem) || cause.status !== 422) return null;
  const named = cause.where.split(".");
  return RULES.findLast((rule) => named.includes(rule)) ?? null;
}
