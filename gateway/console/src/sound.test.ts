import { describe, expect, it } from "vitest";

import type { Alert } from "./api";
import { alertOf } from "./samples";
import { rings, samples, tuneFor } from "./sound";

const NONE = new Map<string, Alert>();

describe("what rings", () => {
  it.each<[string, Partial<Alert>, boolean]>([
    ["a new urgent alert", {}, true],
    ["a new major alert", { severity: "major" }, true],
    ["an escalated one that nobody acknowledged", { workflow: "escalated" }, true],
    ["one that cleared by itself but waits", { condition: "cleared" }, true],
    ["a minor alert", { severity: "minor" }, false],
    ["a late report", { late: true }, false],
    ["a drill", { exercise: true }, false],
    ["a call that is over", { kind: "door_call", severity: "info" }, false],
    ["an acknowledged alert", { workflow: "acknowledged", acknowledged_at: "2026-11-23T12:00:01Z" }, false],
  ])("%s", (_, change, expected) => {
    expect(rings(alertOf(change), false)).toBe(expected);
  });

  it("is a call that goes on, until somebody answers it", () => {
    const call = alertOf({ kind: "door_call", severity: "info" });
    expect(rings(call, true)).toBe(true);
    expect(rings({ ...call, workflow: "acknowledged", acknowledged_at: "2026-11-23T12:00:01Z" }, true)).toBe(false);
  });

  it("makes one tune of a storm, the worst", () => {
    const storm = [...Array(90).keys()].map((n) => alertOf({ id: `a${n}`, severity: n === 40 ? "urgent" : "major" }));
    expect(tuneFor(storm, { calls: NONE, silenced: new Set() })).toBe("urgent");
    expect(tuneFor(storm, { calls: NONE, silenced: new Set(["a40"]) })).toBe("major");
  });

  it("rings for a call in its own tune, unless something worse rings", () => {
    const call = alertOf({ id: "c", kind: "door_call", severity: "info" });
    const calls = new Map([["d1", call]]);
    expect(tuneFor([call], { calls, silenced: new Set() })).toBe("call");
    expect(tuneFor([call, alertOf({ severity: "major" })], { calls, silenced: new Set() })).toBe("major");
  });

  it("keeps what was silenced silent, and rings for the next", () => {
    expect(tuneFor([alertOf()], { calls: NONE, silenced: new Set(["a1"]) })).toBeNull();
    expect(tuneFor([alertOf(), alertOf({ id: "a2" })], { calls: NONE, silenced: new Set(["a1"]) })).toBe("urgent");
    expect(tuneFor([], { calls: NONE, silenced: new Set() })).toBeNull();
  });
});

describe("a tune", () => {
  it.each(["urgent", "major", "call"] as const)("%s is heard, stays in range and ends softly", (tune) => {
    const wave = samples(tune, 8_000);
    const peak = wave.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    expect(peak).toBeGreaterThan(0.3);
    expect(peak).toBeLessThanOrEqual(1);
    expect(Math.abs(wave[wave.length - 1] ?? 1)).toBe(0);
  });
});
