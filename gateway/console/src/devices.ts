// What the office does with devices that were found: search, ask one, try a part, adopt it. Calls and their records only.
import type { Gateway, Known, Page } from "./api";

export const LADDER = ["heard", "answers", "trusted", "known", "ready"] as const;
export type Reach = (typeof LADDER)[number];
export interface Edge { id: string; name: string; site_id: string; online: boolean; revoked_at: string | null }
export interface Part {
  id: string; kind: Known<"camera" | "door" | "relay">; name: string; width_px: number; height_px: number; capabilities: string[]; settings: Record<string, unknown>; adopted_as: string | null;
}
export interface Device {
  id: string; edge_id: string; state: Known<"found" | "adopted" | "removed">; wire: string; address: string; reach: Known<Reach>;
  trouble: Known<"" | "unreachable" | "credentials" | "certificate" | "unsupported" | "clock" | "moved" | "another_device">; detail: string; code: string; maker: string; model: string;
  serial: string; fingerprint: string; has_credentials: boolean; parts: Part[];
}
/** What a person calls a device: who made it, its model and its number, or else where it is. */
export const nameOf = ({ maker, model, serial, address }: Device): string => [maker, model, serial].filter(Boolean).join(" ") || address;

export type OrderState = "waiting" | "confirmed" | "failed" | "refused" | "expired";
/** Why one wire was not searched to its end. */
export interface Note { wire: string; detail: string; code: string }
export interface Order { id: string; state: Known<OrderState>; reason: string; detail: string; devices: string[]; notes: Note[] }

const ASK_MS = 500;
const SEARCH_S = 12;
const name = encodeURIComponent;

export async function edges(gateway: Gateway): Promise<Edge[]> {
  return (await gateway.ask<Page<Edge>>("GET", "edges")).items.filter((edge) => edge.revoked_at === null);
}

/** The devices that were found; those that were removed come after them, if they are asked for. */
export async function devices(gateway: Gateway, removed = false): Promise<Device[]> {
  const lists = ["devices", ...(removed ? ["devices?state=removed"] : [])];
  return (await Promise.all(lists.map((list) => gateway.ask<Page<Device>>("GET", list)))).flatMap((page) => page.items);
}

export const search = (gateway: Gateway, edgeId: string, { networks, why }: { networks: string[]; why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", "devices/discover", { body: { edge_id: edgeId, networks, for_s: SEARCH_S }, why }));

export const WIRES = ["onvif", "rtsp", "osdp"] as const;
export interface Place { wire: string; address: string; user: string; password: string; pause?: boolean }
/** Have an edge ask one address what is there; a reader's password is its key. */
export const askAt = (gateway: Gateway, edgeId: string, { wire, address, user, password, pause = false, why }: Place & { why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", "devices/probe", {
    body: { edge_id: edgeId, wire, address, ...(user === "" ? {} : { user }), ...(password === "" ? {} : { password }), ...(pause ? { pause } : {}) }, why,
  }));

/** Put a stream's address together: credentials that somebody pasted with it come apart; null if it is none. */
export function streamOf(address: string, path: string): { address: string; user: string; password: string } | null {
  const bare = address.trim();
  try {
    const url = new URL(/^rtsps?:\/\//i.test(bare) ? bare : `rtsp://${bare.includes("://") ? "" : bare}`);
    if (url.host === "" || !/^rtsps?:$/.test(url.protocol)) return null;
    const below = path.trim() === "" ? `${url.pathname}${url.search}` : `/${path.trim().replace(/^\/+/, "")}`;
    return { address: `${url.protocol}//${url.host}${below}`, user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
  } catch {
    return null;
  }
}

/** `passOn`: its doors and cameras here take the credentials over, if they open it. */
export interface Credentials { user: string; password: string; trust: boolean; passOn: boolean }
export const askAgain = (gateway: Gateway, id: string, { user, password, trust, passOn, why }: Credentials & { why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", `devices/${name(id)}/probe`, { body: { user, trust, ...(passOn ? { pass_on: true } : {}), ...(password === "" ? {} : { password }) }, why }));

/** Try a part once; at a reader `strike` is the output that is tried. */
export const tryPart = (gateway: Gateway, id: string, { part, strike, why }: { part: Part; strike: number | null; why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", `devices/${name(id)}/try`, {
    body: { part: part.id, act: part.kind === "camera" ? "still" : "unlock", ...(strike === null ? {} : { strike }) }, why,
  }));

export const stillOf = (gateway: Gateway, orderId: string, why: string): Promise<Blob> => gateway.file(`devices/orders/${name(orderId)}/picture`, { why });

export const SIDES = ["in", "out"] as const;
export const INPUTS = ["open", "exit", "emergency", "unlocked", "mains_lost", "battery_low"] as const;
type Input = (typeof INPUTS)[number];
/** How somebody says that a card reader stands at its door; an unsaid strike is the reader's own, an empty door a new one. */
export interface Standing {
  side: (typeof SIDES)[number]; door: string; strike?: number | null; inputs: Partial<Record<Input, number | null>>; inverted: Input[];
}
export const NOT_SAID: Standing = { side: "in", door: "", inputs: {}, inverted: [] };

/** Return the output that the lock hangs on; a door that has a reader has its lock there, as long as nobody says otherwise. */
export function strikeOf({ strike, door }: Standing, part: Part): number | null {
  const own = part.settings["strike"];
  return strike === undefined ? (door === "" && typeof own === "number" ? own : null) : strike;
}

/** Return the doors that other readers of a reader's line serve. */
export function doorsBeside({ id, edge_id, address }: Device, others: Device[]): string[] {
  const line = (whole: string): string => whole.split("#")[0] ?? "";
  const beside = others.filter((one) => one.wire === "osdp" && one.id !== id && one.edge_id === edge_id && line(one.address) === line(address));
  return [...new Set(beside.flatMap(({ parts }) => parts.flatMap(({ adopted_as }) => adopted_as ?? [])))];
}

/** Return a reader's wiring in the gateway's words. */
function wiringOf(standing: Standing, part: Part): Record<string, unknown> {
  const wired = INPUTS.flatMap((input) => { const number = standing.inputs[input]; return number == null ? [] : [{ input, number }]; });
  const inverted = wired.filter(({ input }) => standing.inverted.includes(input)).map(({ number }) => number);
  return { side: standing.side, strike: strikeOf(standing, part), inputs: { ...Object.fromEntries(wired.map(({ input, number }) => [input, number])), ...(inverted.length === 0 ? {} : { inverted }) } };
}

export interface Adoption { part: Part; called: string; why: string; /** Of a card reader. */ standing: Standing | null }
export const adopt = (gateway: Gateway, id: string, { part, called, why, standing }: Adoption): Promise<Device> =>
  gateway.ask("POST", `devices/${name(id)}/adopt`, {
    body: {
      part: part.id, ...(called === "" ? {} : { name: called }), ...(standing === null ? {} : { wiring: wiringOf(standing, part) }),
      ...(standing === null || standing.door === "" ? {} : { door_id: standing.door }),
    },
    why,
  });

/** Say whether a card reader was not yet seen to answer by a key of its own. */
export const lacksKey = ({ wire, state, has_credentials, reach }: Device): boolean =>
  wire === "osdp" && state === "found" && !(has_credentials && (reach === "known" || reach === "ready"));

/** Give a reader in install mode a key of its own, which nobody ever sees. */
export const installKey = (gateway: Gateway, id: string, { pause, why }: { pause: boolean; why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", `devices/${name(id)}/key`, { body: { pause }, why }));

/** Which parts of another device may take over a part, the likely one first. */
export function heirsOf(part: Part, by: Device): Part[] {
  const alike = by.parts.filter((one) => (one.kind === "camera") === (part.kind === "camera") && one.adopted_as === null);
  return alike.sort((a, b) => Number(b.id === part.id) - Number(a.id === part.id) || Number(b.kind === part.kind) - Number(a.kind === part.kind));
}

export const replace = (gateway: Gateway, id: string, { by, parts, why }: { by: string; parts: Record<string, string>; why: string }): Promise<Device> =>
  gateway.ask("POST", `devices/${name(id)}/replace`, { body: { by, parts }, why });

export const offer = (gateway: Gateway, id: string, why: string): Promise<Device> => gateway.ask("POST", `devices/${name(id)}/offer`, { why });

export const remove = (gateway: Gateway, id: string, why: string): Promise<void> => gateway.tell("DELETE", `devices/${name(id)}`, { why });

/** Follow an order until it has ended; the gateway ends the wait for an edge that does not answer. */
async function ended(gateway: Gateway, given: Promise<Order>): Promise<Order> {
  let order = await given;
  while (order.state === "waiting") {
    await new Promise((resolve) => { setTimeout(resolve, ASK_MS); });
    order = await gateway.ask("GET", `devices/orders/${name(order.id)}`);
  }
  return order;
}
