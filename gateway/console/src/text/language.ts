// Which language the page speaks, remembered in this browser, and how times are written in it.
import { createContext, useContext } from "react";

import { en } from "./en";
import type { Catalogue } from "./zh";
import { zh } from "./zh";

export type Language = "zh" | "en";
export const CATALOGUES: Record<Language, Catalogue> = { zh, en };
export const LANGUAGE_NAMES: Record<Language, string> = { zh: "中文", en: "English" };
const KEY = "gatehouse.language";
const SITE_ZONE = "Asia/Shanghai";

/** Return the remembered language; Chinese if there is none. */
export function rememberedLanguage(storage: Storage = localStorage): Language {
  return storage.getItem(KEY) === "en" ? "en" : "zh";
}

export function rememberLanguage(language: Language, storage: Storage = localStorage): void {
  storage.setItem(KEY, language);
}

export const Text = createContext<Catalogue>(zh);
export const useText = (): Catalogue => useContext(Text);

/** Return the message for a word of the gateway, or the word itself if a newer gateway says something unknown. */
export function worded(messages: Record<string, string>, word: string): string {
  return Object.hasOwn(messages, word) ? (messages[word] ?? word) : word;
}

/** Return the message for a stable word, or the gateway's own words where there is none or it is unknown. */
export function told(messages: Record<string, string>, code: string, words: string): string {
  return code !== "" && Object.hasOwn(messages, code) ? (messages[code] ?? words) : words;
}

function zoned(zone: string | undefined): string {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone ?? SITE_ZONE }).resolvedOptions().timeZone;
  } catch {
    return SITE_ZONE; // a zone that this browser does not know
  }
}

/** Return a time on the site's clock, to the second; with the date unless it is the same day there. */
export function siteTime(at: string, { now, zone }: { now: number; zone?: string | undefined }): string {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return at;
  const timeZone = zoned(zone);
  const day = new Intl.DateTimeFormat("en-CA", { timeZone, dateStyle: "short" });
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone, timeStyle: "medium" }).format(time);
  return day.format(time) === day.format(now) ? clock : `${day.format(time)} ${clock}`;
}
