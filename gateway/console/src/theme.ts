// Light or dark, remembered in this browser; what the system prefers until somebody chooses.
const KEY = "gatehouse.dark";

export function rememberedDark(storage: Storage = localStorage): boolean {
  const chosen = storage.getItem(KEY);
  return chosen === null ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "yes";
}

export function rememberDark(dark: boolean, storage: Storage = localStorage): void {
  storage.setItem(KEY, dark ? "yes" : "no");
}
