import { describe, expect, it } from "vitest";

import type { Step } from "./board";
import { advance, byConcern, EMPTY, inOrder, isWaiting } from "./board";
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
    expect(inOrder(alerts).map((alert) => alert.id)).toEqual(["new", "old", "unknown", "minor", "done"]);
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
