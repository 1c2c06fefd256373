// A small coloured word. Its own colours, since those of the library's tags are too pale to read (WCAG AA asks 4.5 to 1).
import type { ReactElement } from "react";

export type Tone = "danger" | "warn" | "caution" | "good" | "note" | "calm";
export interface MarkProps { tone: Tone; loud?: boolean; word: string; title?: string }

export function Mark({ tone, loud = false, word, title }: MarkProps): ReactElement {
  return <span className={`mark mark-${tone}${loud ? " mark-loud" : ""}`} title={title}>{word}</span>;
}
