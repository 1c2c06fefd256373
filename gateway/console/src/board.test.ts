import { describe, expect, it } from "vitest";

import type { Alert, Door } from "./api";
import type { Step } from "./board";
import { advance, byConcern, callsByDoor, EMPTY, inOrder, isWaiting } from "./board";
import { alertOf, cameraOf, doorOf } from "./samples";

const after = (...steps: Step[]): ReturnType<typeof advance> => steps.reduce(advance, EMPTY);

describe("the board", () => {
  it("holds what is open and drops what is resolved", () => {
    const board = after({ type: "alert", alert: alertOf(), raised: true }, { type: "alert", alert: alertOf({ id: "a2" }), raised: true });
    expect([...board.alerts.keys()]).toEqual(["a1", "a2"]);
    expect(board.newest?.id).toBe("a2");
    expect([...advance(board, { type: "alert", alert: alertOf({ workflow: "resolved", version: 2 }), raised: false }).alerts.keys()]).toEqual(["a2"]);
  });

  it("takes no step back when old news is replayed", () => {
    const board = after(
      { type: "alert", alert: alertOf({ version: 3, workflow: "acknowledged" }), raised: false },
      { type: "alert", alert: alertOf({ version: 1 }), raised: true },
      { type: "door", door: doorOf({ contact: "open", seen_at: "2026-11-23T12:00:05Z" }) },
      { type: "door", door: doorOf({ contact: "closed", seen_at: "2026-11-23T12:00:01Z" }) },
    );
    expect(board.alerts.get("a1")?.workflow).toBe("acknowledged");
    expect(board.doors.get("d1")?.contact).toBe("open");
    expect(board.newest).toBeNull();
  });

  it("replaces everything at a reload", () => {
    const board = after(
      { type: "alert", alert: alertOf(), raised: true },
      { type: "camera", camera: cameraOf() },
      { type: "synced", alerts: [alertOf({ id: "a9" })], complete: false, doors: [doorOf()], cameras: [] },
    );
    expect([...board.alerts.keys()]).toEqual(["a9"]);
    expect(board.cameras.size).toBe(0);
    expect(board.complete).toBe(false);
  });

  it("shows a receipt once", () => {
    const receipt = { state: "accepted", at: "2026-11-23T12:01:00Z" };
    const board = after({ type: "alert", alert: alertOf(), raised: true }, { type: "receipt", alertId: "a1", receipt }, { type: "receipt", alertId: "a1", receipt });
    expect(board.alerts.get("a1")?.receipts).toEqual([receipt]);
    expect(advance(board, { type: "receipt", alertId: "unknown", receipt })).toBe(board);
  });
});

describe("order", () => {
  it("puts what waits first, then the worst, then the newest", () => {
    const alerts = [
      alertOf({ id: "done", acknowledged_at: "2026-11-23T12:00:01Z", workflow: "acknowledged" }),
      alertOf({ id: "minor", severity: "minor" }),
      alertOf({ id: "old", raised_at: "2026-11-23T11:00:00Z" }),
      alertOf({ id: "unknown", severity: "dire" }),
      alertOf({ id: "new" }),
    ];
    expect(inOrder(alerts, new Map()).map((alert) => alert.id)).toEqual(["new", "old", "unknown", "minor", "done"]);
  });

  it("lets an escalated alert wait until somebody acknowledges it", () => {
    expect(isWaiting(alertOf({ workflow: "escalated" }))).toBe(true);
    expect(isWaiting(alertOf({ workflow: "escalated", acknowledged_at: "2026-11-23T12:00:01Z" }))).toBe(false);
  });

  it("puts doors with trouble first", () => {
    const doors = [
      doorOf({ id: "quiet" }), doorOf({ id: "open", contact: "open" }), doorOf({ id: "free", mode: "held_open" }),
      doorOf({ id: "worked on", bypass: { kinds: ["door_forced"], reason: "new hinges", by: "li", until: "2026-11-23T12:30:00Z" } }),
      doorOf({ id: "gone", online: false }), doorOf({ id: "prised", tamper: true }), doorOf({ id: "forced", alarm: "forced" }),
    ];
    expect(byConcern(doors).map((door) => door.id)).toEqual(["forced", "prised", "gone", "free", "worked on", "open", "quiet"]);
  });
});

describe("a call", () => {
  const RANG = Date.parse("2026-11-23T12:00:00Z");
  it.each<[string, Partial<Alert>, number, Partial<Door>, boolean]>([
    ["that began just now goes on", {}, 30, {}, true],
    ["goes on while somebody presses again", {}, 299, {}, true],
    ["whose door this computer's clock dates later goes on", {}, -120, {}, true],
    ["that nobody ended is over in the end", {}, 300, {}, false],
    ["that was told late is over", { late: true }, 30, {}, false],
    ["at a door out of reach cannot be answered", {}, 30, { online: false }, false],
    ["at a door that is unknown here cannot be answered", {}, 30, { id: "d9" }, false],
    ["that ended is over", { condition: "cleared" }, 30, {}, false],
    ["that somebody resolved is over", { workflow: "resolved" }, 30, {}, false],
  ])("%s", (_, change, afterS, door, goesOn) => {
    const alerts = new Map([["a1", alertOf({ kind: "door_call", severity: "info", ...change })]]);
    const at = doorOf(door);
    expect(callsByDoor({ alerts, doors: new Map([[at.id, at]]) }, RANG + afterS * 1_000).has("d1")).toBe(goesOn);
  });
});
