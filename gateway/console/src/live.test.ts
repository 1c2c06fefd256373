import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Right } from "./api";
import type { Board, Step } from "./board";
import { advance, EMPTY } from "./board";
import { LiveFeed, newsOf } from "./live";
import type { Answers } from "./samples";
import { alertOf, cameraOf, doorOf, gatewayOf, json, SourceDouble } from "./samples";

const lists = (): Answers => ({
  "GET alerts": () => json({ items: [alertOf()], next: null }),
  "GET doors": () => json({ items: [doorOf()] }),
  "GET cameras": () => json({ items: [cameraOf()] }),
});

function running(answers: Answers, rights: Right[] = ["alerts:read", "doors:read", "cameras:read"]): { board: () => Board; sources: SourceDouble[]; source: () => SourceDouble; feed: LiveFeed; asked: { call: string }[]; expired: () => number } {
  const { gateway, asked } = gatewayOf(answers);
  const sources: SourceDouble[] = [];
  let board = EMPTY;
  let expired = 0;
  const feed = new LiveFeed({
    gateway,
    may: (right) => rights.includes(right),
    openSource: () => { const made = new SourceDouble(); sources.push(made); return made; },
    dispatch: (step: Step) => { board = advance(board, step); },
    onExpired: () => { expired += 1; },
    now: () => Date.now(),
  });
  feed.start();
  return { board: () => board, sources, source: () => sources[sources.length - 1] ?? new SourceDouble(), feed, asked, expired: () => expired };
}

const settle = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe("the live feed", () => {
  beforeEach(() => { vi.useFakeTimers(); });
  afterEach(() => { vi.useRealTimers(); });

  it("loads everything once the feed is open, then says that it is live", async () => {
    const { board, source } = running(lists());
    expect(board().link).toBe("connecting");
    source().open();
    await settle();
    expect(board().link).toBe("live");
    expect([...board().alerts.keys(), ...board().doors.keys(), ...board().cameras.keys()]).toEqual(["a1", "d1", "c1"]);
  });

  it("shows news at once and follows the pages of a long list", async () => {
    const { board, source, asked } = running({
      ...lists(),
      "GET alerts": vi.fn()
        .mockResolvedValueOnce(json({ items: [alertOf()], next: "k" }))
        .mockImplementation(() => json({ items: [alertOf({ id: "a2" })], next: null })),
    });
    source().open();
    await settle();
    source().emit("alert", { ...alertOf({ id: "a3" }), change: "raised", seq: 7 });
    expect([...board().alerts.keys()]).toEqual(["a1", "a2", "a3"]);
    expect(board().newest?.id).toBe("a3");
    expect(asked.filter(({ call }) => call === "GET alerts")).toHaveLength(2);
  });

  it("keeps an alert that came while an older list was on its way", async () => {
    let answer: (response: Response) => void = () => undefined;
    const { board, source } = running({ ...lists(), "GET alerts": () => new Promise((resolve) => { answer = resolve; }) });
    source().open();
    await settle();
    source().emit("alert", { ...alertOf({ id: "meanwhile" }), change: "raised" });
    expect(board().alerts.has("meanwhile")).toBe(true);
    answer(json({ items: [], next: null }));
    await settle();
    expect(board().alerts.has("meanwhile")).toBe(true);
  });

  it("loads again if the feed opened while a list was on its way", async () => {
    const { source, sources, asked, feed } = running(lists());
    feed.nudge();
    await vi.advanceTimersToNextTimerAsync();
    const before = asked.length;
    source().open();
    await settle();
    expect(asked.length).toBeGreaterThan(before);
    expect(sources).toHaveLength(1);
  });

  it("says that it is lost, and makes a new connection if the browser gave up", async () => {
    const { board, source, sources } = running(lists());
    source().open();
    await settle();
    source().fail(2);
    expect(board().link).toBe("lost");
    await settle(1_000);
    expect(sources.length).toBe(2);
    source().open();
    await settle();
    expect(board().link).toBe("live");
  });

  it("leaves the reconnection with its replay to the browser while that tries", async () => {
    const { board, source, sources } = running(lists());
    source().open();
    await settle();
    source().fail(0);
    await settle(3_000);
    expect(board().link).toBe("lost");
    expect(sources).toHaveLength(1);
    source().open();
    await settle();
    expect(board().link).toBe("live");
  });

  it("opens a feed anew that fell silent, because the gateway may have vanished without a word", async () => {
    const { source, sources, board } = running(lists());
    source().open();
    await settle();
    await settle(30_000);
    expect(sources).toHaveLength(2);
    expect(board().link).toBe("live");
    source().open();
    await settle();
    await settle(10_000);
    source().emit("camera", cameraOf());
    await settle(25_000);
    expect(sources).toHaveLength(2);
  });

  it("tells once that the session has ended, and stops", async () => {
    const { source, sources, expired } = running({ ...lists(), "GET doors": () => json({ detail: "log in" }, 401) });
    source().open();
    await settle();
    expect(expired()).toBe(1);
    await settle(120_000);
    expect(sources).toHaveLength(1);
    expect(sources[0]?.readyState).toBe(2);
  });

  it("does not ask for what the person may not see", async () => {
    const { source, asked, board } = running({ "GET doors": () => json({ items: [doorOf()] }) }, ["doors:read"]);
    source().open();
    await settle();
    expect(asked.map(({ call }) => call)).toEqual(["GET doors"]);
    expect(board().link).toBe("live");
  });

  it("keeps trying through a gateway that answers 500", async () => {
    const doors = vi.fn(() => json({ detail: "no" }, 500));
    const { source, board } = running({ ...lists(), "GET doors": doors });
    source().open();
    await settle();
    expect(board().link).toBe("lost");
    doors.mockImplementation(() => json({ items: [] }));
    await settle(20_000);
    expect(board().link).toBe("live");
  });
});

describe("an event", () => {
  beforeEach(() => { vi.spyOn(console, "warn").mockImplementation(() => undefined); });

  it.each([["alert", "{"], ["alert", "null"], ["alert", "{}"], ["weather", '{"id":"x"}'], ["receipt", "{}"]])("%s %s is passed over", (type, text) => {
    expect(newsOf(type, text)).toBeNull();
  });

  it("brings a receipt nested or flat", () => {
    const receipt = { state: "closed", at: "2026-11-23T12:00:00Z" };
    expect(newsOf("receipt", JSON.stringify({ alert_id: "a1", receipt }))).toEqual({ type: "receipt", alertId: "a1", receipt });
    expect(newsOf("receipt", JSON.stringify({ alert_id: "a1", ...receipt }))).toMatchObject({ alertId: "a1", receipt });
  });
});
