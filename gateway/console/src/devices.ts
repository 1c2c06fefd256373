// What the office does with devices that were found: search, ask one, try a part, adopt it. Calls and their records only.
import type { Gateway, Known, Page } from "./api";

export const LADDER = ["heard", "answers", "trusted", "known", "ready"] as const;
export type Reach = (typeof LADDER)[number];
export interface Edge { id: string; name: string; site_id: string; online: boolean; revoked_at: string | null }
export interface Part {
  id: string; kind: Known<"camera" | "door" | "relay">; name: string; width_px: number; height_px: number; adopted_as: string | null;
}
export interface Device {
  id: string; edge_id: string; state: Known<"found" | "adopted" | "removed">; wire: string; address: string; reach: Known<Reach>;
  trouble: Known<"" | "unreachable" | "credentials" | "certificate" | "unsupported" | "clock" | "moved" | "another_device">; detail: string; maker: string; model: string;
  serial: string; fingerprint: string; has_credentials: boolean; parts: Part[];
}
export type OrderState = "waiting" | "confirmed" | "failed" | "refused" | "expired";
export interface Order { id: string; state: Known<OrderState>; reason: string; detail: string; devices: string[] }

const ASK_MS = 500;
const SEARCH_S = 12;
const name = encodeURIComponent;

export async function edges(gateway: Gateway): Promise<Edge[]> {
  return (await gateway.ask<Page<Edge>>("GET", "edges")).items.filter((edge) => edge.revoked_at === null);
}

export async function devices(gateway: Gateway): Promise<Device[]> {
  return (await gateway.ask<Page<Device>>("GET", "devices")).items;
}

export const search = (gateway: Gateway, edgeId: string, { networks, why }: { networks: string[]; why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", "devices/discover", { body: { edge_id: edgeId, networks, for_s: SEARCH_S }, why }));

export interface Credentials { user: string; password: string; trust: boolean }
export const askAgain = (gateway: Gateway, id: string, { user, password, trust, why }: Credentials & { why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", `devices/${name(id)}/probe`, { body: { user, trust, ...(password === "" ? {} : { password }) }, why }));

export const tryPart = (gateway: Gateway, id: string, { part, why }: { part: Part; why: string }): Promise<Order> =>
  ended(gateway, gateway.ask("POST", `devices/${name(id)}/try`, { body: { part: part.id, act: part.kind === "camera" ? "still" : "unlock" }, why }));

export const stillOf = (gateway: Gateway, orderId: string, why: string): Promise<Blob> => gateway.file(`devices/orders/${name(orderId)}/picture`, { why });

export const adopt = (gateway: Gateway, id: string, { part, called, why }: { part: Part; called: string; why: string }): Promise<Device> =>
  gateway.ask("POST", `devices/${name(id)}/adopt`, { body: { part: part.id, ...(called === "" ? {} : { name: called }) }, why });

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
