// What the office does with faces: find a person, enrol them, draw a near zone, count evidence. Calls and their records only.
import type { Gateway, Known, Page } from "./api";

export interface Consent { id: string; purpose: string; doors: string[]; text_version: string; given_at: string; live: boolean }
export interface PersonRow { id: string; site_id: string; name: string; under_14: boolean; external_id?: string | null }
export interface Person extends PersonRow {
  credentials?: { id: string; kind: string; state: string }[];
  flats: { flat_id: string }[]; consents: Consent[]; faces: { id: string; edge_id: string; at: string }[]; may_be_asked: string[];
}
export type Hint =
  | "" | "come_closer" | "step_back" | "look_straight" | "turn_slightly" | "more_light" | "less_light" | "hold_still" | "one_person_only" | "taken";
export type EnrolmentState = "waiting" | "running" | "confirmed" | "refused" | "failed" | "expired" | "cancelled";
export interface Enrolment {
  id: string; state: Known<EnrolmentState>; done: number; wanted: number; hint: Known<Hint>; reason: string | null; detail: string;
  similar_to?: string | null;
}
export interface Enrolled { similar_to?: string[] }
export interface CameraSettings { id: string; name: string; near_zone: number[]; seeded: boolean; version: number; register: object | null }
export interface Still { id: string; camera_id: string; state: Known<"waiting" | "ready" | "failed">; reason: string; detail: string }
export interface Calibration {
  id: string; edge_id: string; contract: string; source: Known<"labelled" | "site">; persons: number; pairs: number; at: string;
  in_force: boolean; carries: { people: number; radius: number; needed_pairs: number }[];
}
export interface Counted { edge_id: string; state: string; reason: string | null; detail: string }

export const PHOTOS_MOST = 5;
export const PHOTO_BYTES = 4 * 1024 * 1024;
export const PHOTO_KINDS = ["image/jpeg", "image/png"];
const PEOPLE_SHOWN = 20;
const EDGE_MS = 45_000;
const name = encodeURIComponent;

export async function findPeople(gateway: Gateway, text: string, why: string): Promise<{ people: PersonRow[]; more: boolean }> {
  const page = await gateway.ask<Page<PersonRow>>("GET", `people?name=${name(text)}&limit=${PEOPLE_SHOWN}`, { why });
  return { people: page.items, more: page.next != null };
}

/** Find people whose name holds a text, or whose external id is it. */
export async function findByNameOrNumber(gateway: Gateway, text: string, why: string): Promise<{ people: PersonRow[]; more: boolean }> {
  const numbered = /^[\w./-]{1,64}$/.test(text) ? gateway.ask<Page<PersonRow>>("GET", `people?external_id=${name(text)}`, { why }) : { items: [] };
  const [named, exact] = await Promise.all([findPeople(gateway, text, why), numbered]);
  const ids = new Set(exact.items.map((one) => one.id));
  return { people: [...exact.items, ...named.people.filter((one) => !ids.has(one.id))], more: named.more };
}

export const person = (gateway: Gateway, id: string, why: string): Promise<Person> => gateway.ask("GET", `people/${name(id)}`, { why });

/** The first photo replaces what is enrolled unless it is added too; somebody else's face only `anew`. The gateway keeps none. */
export const sendPhoto = (gateway: Gateway, id: string, { file, add, anew, why }: { file: Blob; add: boolean; anew: boolean; why: string }): Promise<Enrolled> =>
  gateway.ask("PUT", `people/${name(id)}/face${add ? "?add=true" : anew ? "?anew=true" : ""}`, { file, why, timeoutMs: EDGE_MS });

interface AtDoor { doorId: string; pictures: number; anew: boolean; why: string }
export const beginAtDoor = (gateway: Gateway, id: string, { doorId, pictures, anew, why }: AtDoor): Promise<Enrolment> =>
  gateway.ask("POST", `people/${name(id)}/face/at-door`, { body: { door_id: doorId, pictures, anew }, why });

export const enrolment = (gateway: Gateway, id: string, why: string): Promise<Enrolment> => gateway.ask("GET", `face-enrolments/${name(id)}`, { why });

export const callOff = (gateway: Gateway, id: string, why: string): Promise<void> => gateway.tell("DELETE", `face-enrolments/${name(id)}`, { why });

export const cameraSettings = (gateway: Gateway, id: string): Promise<CameraSettings> => gateway.ask("GET", `cameras/${name(id)}/settings`);

export const saveZone = (gateway: Gateway, camera: CameraSettings, { zone, why }: { zone: number[]; why: string }): Promise<CameraSettings> =>
  gateway.ask("PATCH", `cameras/${name(camera.id)}/settings`, { body: { near_zone: zone }, version: camera.version, why });

export const askForStill = (gateway: Gateway, id: string, why: string): Promise<Still> => gateway.ask("POST", `cameras/${name(id)}/stills`, { why });

export const still = (gateway: Gateway, asked: Still): Promise<Still> => gateway.ask("GET", `cameras/${name(asked.camera_id)}/stills/${name(asked.id)}`);

export const pictureOf = (gateway: Gateway, taken: Still, why: string): Promise<Blob> =>
  gateway.file(`cameras/${name(taken.camera_id)}/stills/${name(taken.id)}/picture`, { why });

export async function calibrations(gateway: Gateway, siteId: string): Promise<Calibration[]> {
  return (await gateway.ask<Page<Calibration>>("GET", `sites/${name(siteId)}/calibrations?limit=200`)).items;
}

export async function orderCount(gateway: Gateway, siteId: string, why: string): Promise<Counted[]> {
  return (await gateway.ask<Page<Counted>>("POST", `sites/${name(siteId)}/calibrations/count`, { why })).items;
}

/** How the newest count of each edge stands. */
export async function counts(gateway: Gateway, siteId: string): Promise<Counted[]> {
  return (await gateway.ask<Page<Counted>>("GET", `sites/${name(siteId)}/calibrations/count`)).items;
}
