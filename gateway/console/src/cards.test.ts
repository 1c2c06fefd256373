import { describe, expect, it } from "vitest";

import { cardRead } from "./cards";
import vectors from "./cards.vectors.json";

type Vector = { reading: string; format: Parameters<typeof cardRead>[1]; number: string | null };

describe("the number of a card", () => {
  it.each(vectors as Vector[])("$reading by $format is $number", ({ reading, format, number }) => {
    const read = cardRead(reading, format);
    expect("number" in read ? read.number : null).toBe(number);
  });

  it("is read through an input method's wide letters, and what is wrong has a word", () => {
    expect(cardRead("７１８６Ａ６１Ｅ", null)).toEqual({ number: "7186A61E" });
    expect(cardRead("hello", null)).toEqual({ fault: "hex" });
    const framed = { notation: "hex", frame: 26, width: 0, reverse: false, keep: 0, keep_from: "end" } as const;
    expect(cardRead("26:1A2B3C40", framed)).toEqual({ fault: "parity" });
  });
});
