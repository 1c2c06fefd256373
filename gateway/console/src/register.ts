// The register entry that many cameras share: which cameras there are, what would become of each, and what did. Calls and records.
import type { Camera, Gateway, Known, Page } from "./api";

export const PLACE_CLASSES = ["community_common", "private_common", "public_art7", "key_unit_art7"] as const;
export const RATES = ["auto", "full", "key"] as const;
export type Mask = [number, number, number, number];
export interface Entry {
  purpose: string; place_class: string; sign_confirmed_on: string; banned_area_checked: boolean; filed_on: string | null; responsible: string;
}
export interface Form { register: Entry; replace: boolean; name: string; first: number; rate: string | null; privacy_masks: Mask[] }
export interface Row { camera_id: string; state: Known<"changed" | "kept" | "refused">; name: string; reason: string; detail: string }
export interface Listed { id: string; name: string; complete: boolean }

const MASKS_MOST = 16;

/** The cameras in scope, those without a complete entry first. */
export async function listed(gateway: Gateway): Promise<Listed[]> {
  const cameras: Camera[] = await gateway.cameras();
  const sites = [...new Set(cameras.map((camera) => camera.site_id))];
  const pages = await Promise.all(sites.map((site) => gateway.ask<Page<{ camera_id: string; complete: boolean }>>("GET", `sites/${encodeURIComponent(site)}/register`)));
  const complete = new Set(pages.flatMap((page) => page.items).filter((row) => row.complete).map((row) => row.camera_id));
  return cameras.map(({ id, name }) => ({ id, name, complete: complete.has(id) })).sort((a, b) => Number(a.complete) - Number(b.complete) || a.id.localeCompare(b.id));
}

/** Register cameras one by one, so that the good ones are not lost; a preview changes nothing. */
export async function register(gateway: Gateway, cameras: string[], { form, preview, why }: { form: Form; preview: boolean; why: string }): Promise<Row[]> {
  return (await gateway.ask<Page<Row>>("POST", "cameras/register", { body: { cameras, ...form, each: true, preview }, why })).items;
}

/** Read masks: one a line, left, top, right and bottom edge in percent; null if one is none. */
export function masksOf(text: string): Mask[] | null {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  const masks = lines.map((line) => line.split(/[\s,;，；%]+/).filter(Boolean).map((word) => Number(word) / 100));
  const sound = ([x0, y0, x1, y1, ...rest]: number[]): boolean =>
    x0 !== undefined && y0 !== undefined && x1 !== undefined && y1 !== undefined && rest.length === 0 && x0 >= 0 && y0 >= 0 && x0 < x1 && y0 < y1 && x1 <= 1 && y1 <= 1;
  return masks.length <= MASKS_MOST && masks.every(sound) ? (masks as Mask[]) : null;
}

/** Write rows as a table that spreadsheets open: nothing in it is read as a formula. */
export function csvOf(head: string[], rows: string[][]): string {
  const cell = (word: string): string => `"${(/^[=+\-@\t\r]/.test(word) ? `'${word}` : word).replaceAll('"', '""')}"`;
  return `\uFEFF${[head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Hand a text to the browser as a file. */
export function save(text: string, { file, type }: { file: string; type: string }): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = file;
  link.click();
  setTimeout(() => { URL.revokeObjectURL(link.href); }, 0);
}
