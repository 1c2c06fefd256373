import { act, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Alert } from "./api";
import { App } from "./App";
import { inOrder } from "./board";
import { stub, unstub } from "./dialogs";
import type { Answers } from "./samples";
import { alertOf, doorOf, gatewayOf, json, SourceDouble } from "./samples";

const SCOPES = ["alerts:read", "alerts:act", "doors:read", "doors:unlock"];
const callOf = (change: Partial<Alert> = {}): Alert => alertOf({ kind: "door_call", severity: "info", ...change });
const ANSWERED = callOf({ workflow: "acknowledged", acknowledged_at: "2026-11-23T12:00:09Z", acknowledged_by: "li", version: 2 });
const OVER = callOf({ condition: "cleared", cleared_at: "2026-11-23T12:01:00Z", version: 2 });

function open(answers: Answers = {}, scopes = SCOPES): { asked: ReturnType<typeof gatewayOf>["asked"]; source: () => SourceDouble } {
  localStorage.setItem("gatehouse.language", "en");
  const { gateway, asked } = gatewayOf({
    "GET session": () => json({ user: { id: "u1", username: "li", role: "operator", scopes } }),
    "GET alerts": () => json({ items: [callOf()], next: null }), "GET doors": () => json({ items: [doorOf()] }), ...answers,
  });
  const made: SourceDouble[] = [];
  render(<App nonce="n" gateway={gateway} openSource={() => {
    const source = new SourceDouble();
    made.push(source);
    setTimeout(() => { source.open(); }, 0);
    return source;
  }} />);
  return { asked, source: () => made[made.length - 1] ?? new SourceDouble() };
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.parse("2026-11-23T12:00:05Z") });
  localStorage.clear();
  stub();
});
afterEach(() => {
  unstub();
  vi.useRealTimers();
});

describe("a call at a door station", () => {
  it("says who rings since when, at the door too, and is opened with a reason, which answers it", async () => {
    const { asked, source } = open({ "POST doors/d1/unlock": () => json({}), "POST alerts/a1/acknowledge": () => json(ANSWERED) });
    const card = await screen.findByRole("article", { name: /Somebody rings/ });
    expect(within(card).getByText(/^Rings since 20:00:00$/)).toBeTruthy();
    expect(document.querySelector("[data-door]")?.textContent).toContain("Somebody rings");
    const opening = within(card).getByRole<HTMLButtonElement>("button", { name: "Open East gate to who rings" });
    fireEvent.change(within(card).getByLabelText("Reason to open"), { target: { value: " x " } });
    expect(opening.disabled, "too short a reason").toBe(true);
    fireEvent.click(within(card).getByRole("button", { name: "Delivery" }));
    fireEvent.click(opening);
    expect(await within(card).findByText(/^Answered by li at/)).toBeTruthy();
    expect(asked.filter(({ call }) => call.startsWith("POST")).map(({ call, body }) => [call, body])).toEqual([
      ["POST doors/d1/unlock", { reason: "Delivery" }], ["POST alerts/a1/acknowledge", { note: "Delivery" }],
    ]);
    act(() => { source().emit("alert", { ...ANSWERED, ...OVER, workflow: "acknowledged", acknowledged_at: ANSWERED.acknowledged_at, version: 3, change: "cleared" }); });
    expect(within(card).getByText(/^Call ended at/)).toBeTruthy();
    expect(within(card).queryByRole("button", { name: /Open East gate/ })).toBeNull();
    expect(document.querySelector("[data-door]")?.textContent).not.toContain("Somebody rings");
  });

  it("is refused with one click", async () => {
    const { asked } = open({ "POST doors/d1/refuse-call": () => json({}), "POST alerts/a1/acknowledge": () => json(ANSWERED) });
    fireEvent.click(await screen.findByRole("button", { name: "Refuse the call at East gate" }));
    expect(await screen.findByText("Who rang at East gate was told")).toBeTruthy();
    expect(asked.find(({ call }) => call === "POST doors/d1/refuse-call")?.body).toEqual({ reason: "The desk refused the call" });
  });

  it("that is over already is said to be, and shown as it stands", async () => {
    const { asked } = open({ "POST doors/d1/refuse-call": () => json({ detail: "nobody calls" }, 409), "GET alerts/a1": () => json(OVER) });
    fireEvent.click(await screen.findByRole("button", { name: /Refuse the call/ }));
    expect(await screen.findByText(/The call is over/)).toBeTruthy();
    expect(await screen.findByText(/^Call ended at/)).toBeTruthy();
    expect(asked.map(({ call }) => call), "nobody answered it here").not.toContain("POST alerts/a1/acknowledge");
  });

  it("that somebody else acknowledged meanwhile was opened all the same", async () => {
    const wang = { ...ANSWERED, acknowledged_by: "wang" };
    open({ "POST doors/d1/unlock": () => json({}), "POST alerts/a1/acknowledge": () => json({ detail: "acknowledged already" }, 409), "GET alerts/a1": () => json(wang) });
    fireEvent.click(await screen.findByRole("button", { name: "Delivery" }));
    fireEvent.click(screen.getByRole("button", { name: /Open East gate/ }));
    expect(await screen.findByText("East gate took the order to open")).toBeTruthy();
    expect(await screen.findByText(/^Answered by wang at/)).toBeTruthy();
    expect(screen.queryByText(/acknowledged already/)).toBeNull();
  });

  it("goes on where the door did not open", async () => {
    const { asked } = open({ "POST doors/d1/unlock": () => json({ detail: "edge-1 did not answer" }, 504) });
    fireEvent.click(await screen.findByRole("button", { name: "Delivery" }));
    fireEvent.click(screen.getByRole("button", { name: /Open East gate/ }));
    expect(await screen.findByText(/edge-1 did not answer/)).toBeTruthy();
    await waitFor(() => { expect(screen.getByRole<HTMLButtonElement>("button", { name: /Refuse the call/ }).disabled).toBe(false); });
    expect(asked.map(({ call }) => call)).not.toContain("POST alerts/a1/acknowledge");
  });

  it("that was opened says so though its alert could not be acknowledged, and is not opened again", async () => {
    open({ "POST doors/d1/unlock": () => json({}), "POST alerts/a1/acknowledge": () => json({ detail: "no right" }, 403) });
    fireEvent.click(await screen.findByRole("button", { name: "Delivery" }));
    fireEvent.click(screen.getByRole("button", { name: /Open East gate/ }));
    expect(await screen.findByText("East gate took the order to open")).toBeTruthy();
    expect(await screen.findByText(/could not be acknowledged/)).toBeTruthy();
    expect(screen.queryByText(/That did not work/)).toBeNull();
  });

  it("is not opened by Enter in the reason: a desk reader types a card's number and Enter", async () => {
    const { asked } = open({ "POST doors/d1/unlock": () => json({}), "POST alerts/a1/acknowledge": () => json(ANSWERED) });
    const reason = await screen.findByLabelText<HTMLInputElement>("Reason to open");
    fireEvent.change(reason, { target: { value: "2852126720" } });
    fireEvent.keyDown(reason, { key: "Enter" });
    expect(reason.form, "what Enter would submit").toBeNull();
    expect(asked.map(({ call }) => call)).not.toContain("POST doors/d1/unlock");
  });

  it.each([["acknowledged first", ANSWERED], ["ended first", OVER]])("leaves the keyboard on its alert once its buttons are gone, %s", async (_, first) => {
    const { source } = open({ "POST doors/d1/refuse-call": () => json({}), "POST alerts/a1/acknowledge": () => json(first) });
    const refusing = await screen.findByRole("button", { name: /Refuse the call/ });
    refusing.focus();
    fireEvent.click(refusing);
    await screen.findByText(first === OVER ? /^Call ended at/ : /^Answered by li/);
    act(() => { source().emit("alert", { ...ANSWERED, condition: "cleared", cleared_at: OVER.cleared_at, version: 3, change: "updated" }); });
    expect(await screen.findByText(/^Answered by li/)).toBeTruthy();
    expect(screen.queryByRole("button", { name: /Refuse the call/ })).toBeNull();
    expect(document.activeElement?.getAttribute("aria-label")).toMatch(/^Resolve/);
  });

  it("is shown, and not answered, by who may not open doors", async () => {
    open({}, ["alerts:read", "alerts:act", "doors:read"]);
    const card = await screen.findByRole("article", { name: /Somebody rings/ });
    expect(within(card).getByText(/^Rings since/)).toBeTruthy();
    expect(within(card).queryByRole("button", { name: /Open|Refuse/ })).toBeNull();
    expect(screen.queryByRole("button", { name: /What to do at/ })).toBeNull();
  });

  it("brings its door to the top", async () => {
    open({ "GET doors": () => json({ items: [doorOf({ id: "d0", name: "A", alarm: "forced" }), doorOf()] }) });
    await screen.findByRole("article", { name: /Somebody rings/ });
    expect([...document.querySelectorAll("[data-door]")].map((row) => row.getAttribute("data-door"))).toEqual(["d1", "d0"]);
  });

  it("comes after what is urgent and before the rest, while it goes on", () => {
    const others = [alertOf({ id: "major", severity: "major" }), callOf({ id: "call" }), callOf({ id: "over", condition: "cleared" }), alertOf({ id: "urgent" })];
    expect(inOrder(others, new Map([["d1", callOf({ id: "call" })]])).map((alert) => alert.id)).toEqual(["urgent", "call", "major", "over"]);
  });
});

describe("what may be done at a door", () => {
  const menu = async (scopes: string[]): Promise<(string | null)[]> => {
    open({ "GET alerts": () => json({ items: [], next: null }) }, scopes);
    fireEvent.click(await screen.findByRole("button", { name: "What to do at East gate" }));
    return (await screen.findAllByRole("menuitem")).map((item) => item.textContent);
  };

  it("is what the person has the right for", async () => {
    expect(await menu(["doors:read", "devices:write"])).toEqual(["Rules of East gate"]);
  });

  it("is all of it with all rights", async () => {
    expect(await menu(["doors:read", "devices:write", "doors:unlock"])).toEqual(["Rules of East gate", "Bypass alarms of East gate"]);
  });

  it("stands beside why the door is not served", async () => {
    open({ "GET doors": () => json({ items: [doorOf({ online: false, trouble: "its edge is out of reach" }), doorOf({ id: "d2", name: "B", trouble: "no broker" })] }) });
    expect(await screen.findByText("Its edge is out of reach")).toBeTruthy();
    expect(screen.getByText("no broker"), "words that have no translation").toBeTruthy();
  });
});
