import { act, cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { App } from "./App";
import type { Alert } from "./api";
import type { Answers } from "./samples";
import { alertOf, cameraOf, doorOf, gatewayOf, json, SourceDouble } from "./samples";

const USER = { user: { id: "u1", username: "li", role: "operator", scopes: ["alerts:read", "alerts:act", "doors:read", "cameras:read"] } };

/** The page over a gateway that answers as told; it is logged in unless `answers` say otherwise. */
function open(answers: Answers = {}): { asked: ReturnType<typeof gatewayOf>["asked"]; source: () => SourceDouble } {
  const { gateway, asked } = gatewayOf({
    "GET session": () => json(USER),
    "GET alerts": () => json({ items: [alertOf()], next: null }),
    "GET doors": () => json({ items: [doorOf(), doorOf({ id: "d2", name: "West gate", online: false })] }),
    "GET cameras": () => json({ items: [cameraOf({ state: "lost" })] }),
    ...answers,
  });
  const sources: SourceDouble[] = [];
  render(<App nonce="n" gateway={gateway} openSource={() => {
    const made = new SourceDouble();
    sources.push(made);
    setTimeout(() => { if (made.readyState === 0) made.open(); }, 0);
    return made;
  }} />);
  return { asked, source: () => sources[sources.length - 1] ?? new SourceDouble() };
}

const played: SoundDouble[] = [];

class AudioDouble extends EventTarget {
  static first: "running" | "suspended" = "running";
  state = AudioDouble.first;
  sampleRate = 8_000;
  destination = {};
  createBuffer = (): object => ({ copyToChannel: vi.fn() });
  close = (): Promise<void> => Promise.resolve();
  resume = (): Promise<void> => {
    if (this.state !== "running") setTimeout(() => { this.state = "running"; this.dispatchEvent(new Event("statechange")); }, 0);
    return Promise.resolve();
  };
}

class SoundDouble {
  sounding = false;
  connect = vi.fn();
  constructor() { played.push(this); }
  start(): void { this.sounding = true; }
  stop(): void { this.sounding = false; }
}

const event = (source: SourceDouble, alert: Alert, change: string): void => {
  act(() => { source.emit("alert", { ...alert, change }); });
};

describe("the page", () => {
  beforeEach(() => {
    localStorage.clear();
    played.length = 0;
    vi.stubGlobal("AudioContext", AudioDouble);
    vi.stubGlobal("AudioBufferSourceNode", SoundDouble);
    vi.stubGlobal("ResizeObserver", class {
      observe = vi.fn();
      unobserve = vi.fn();
      disconnect = vi.fn();
    });
    vi.stubGlobal("matchMedia", (query: string) => ({
      matches: false, media: query, addListener: vi.fn(), removeListener: vi.fn(), addEventListener: vi.fn(), removeEventListener: vi.fn(),
    }));
  });
  afterEach(() => {
    cleanup();
    AudioDouble.first = "running";
    vi.unstubAllGlobals();
  });

  it("logs in, in Chinese first, and says why it did not", async () => {
    const logIn = vi.fn(() => json({ detail: "wrong" }, 401));
    open({ "GET session": () => json({ detail: "log in" }, 401), "POST session": logIn });
    const name = await screen.findByLabelText("用户名");
    fireEvent.change(name, { target: { value: "li" } });
    fireEvent.change(screen.getByLabelText("密码"), { target: { value: "secret" } });
    fireEvent.submit(name);
    expect((await screen.findByRole("alert")).textContent).toContain("用户名或密码不正确");
    logIn.mockImplementation(() => json(USER));
    fireEvent.submit(name);
    expect(await screen.findByRole("article", { name: "紧急 强行开门 East gate" })).toBeTruthy();
  });

  it("shows alerts, doors and cameras, and switches to English", async () => {
    open();
    await screen.findByRole("article", { name: /强行开门/ });
    fireEvent.click(screen.getByText("English"));
    const card = await screen.findByRole("article", { name: "Urgent Door forced open East gate" });
    expect(within(card).getByText("Active")).toBeTruthy();
    expect(screen.getByText("2, 1 to look at")).toBeTruthy();
    expect(screen.getByText("0/1 online")).toBeTruthy();
    expect(document.documentElement.lang).toBe("en");
  });

  it("acknowledges only when the gateway confirms", async () => {
    let confirm: (response: Response) => void = () => undefined;
    open({ "POST alerts/a1/acknowledge": () => new Promise((resolve) => { confirm = resolve; }) });
    const button = await screen.findByRole("button", { name: "确认告警：强行开门，East gate" });
    button.focus();
    fireEvent.click(button);
    expect(screen.getByRole("article").className).toContain("alert-loud");
    act(() => { confirm(json(alertOf({ workflow: "acknowledged", acknowledged_at: "2026-11-23T12:00:09Z", acknowledged_by: "li", version: 2 }))); });
    expect(await screen.findByText(/li 于 .* 确认/)).toBeTruthy();
    expect(screen.queryByRole("button", { name: /确认告警/ })).toBeNull();
    await waitFor(() => { expect(document.activeElement).toBe(screen.getByRole("button", { name: /处置告警/ })); });
  });

  it("says which alarms of a door are bypassed, until when and by whom", async () => {
    const bypass = { kinds: ["door_forced", "door_tampered"], reason: "new hinges", by: "li", until: "2099-11-23T12:30:00Z" };
    open({ "GET doors": () => json({ items: [doorOf({ bypass })] }) });
    const mark = await screen.findByText(/^2099-11-23 .* 前不报警：强行开门、防拆报警$/);
    expect(mark.title).toBe("li：new hinges");
  });

  it("says the gateway's own words when an action is refused", async () => {
    open({ "POST alerts/a1/acknowledge": () => json({ title: "Conflict", detail: "already resolved by wang" }, 409) });
    fireEvent.click(await screen.findByRole("button", { name: /确认告警/ }));
    expect(await screen.findByText(/already resolved by wang/)).toBeTruthy();
    expect(screen.getByRole("article").className).toContain("alert-loud");
  });

  it("resolves with a disposition, and not without", async () => {
    const { asked } = open({ "POST alerts/a1/resolve": () => json(alertOf({ workflow: "resolved", version: 2 })) });
    fireEvent.click(await screen.findByRole("button", { name: /处置告警/ }));
    fireEvent.click(await screen.findByRole("button", { name: "完成处置" }));
    expect(screen.getByText("请选择处置结果")).toBeTruthy();
    fireEvent.click(screen.getByLabelText("误报"));
    fireEvent.change(screen.getByLabelText("备注"), { target: { value: " wind " } });
    fireEvent.click(screen.getByRole("button", { name: "完成处置" }));
    await waitFor(() => { expect(screen.queryByRole("article")).toBeNull(); });
    expect(asked.find(({ call }) => call === "POST alerts/a1/resolve")?.body).toEqual({ disposition: "false_alarm", note: "wind" });
  });

  it("keeps a note through an expired session", async () => {
    const resolve = vi.fn(() => json({ detail: "log in" }, 401));
    open({ "POST alerts/a1/resolve": resolve, "POST session": () => json(USER) });
    fireEvent.click(await screen.findByRole("button", { name: /处置告警/ }));
    fireEvent.click(await screen.findByLabelText("误报"));
    fireEvent.change(screen.getByLabelText("备注"), { target: { value: "long story" } });
    fireEvent.click(screen.getByRole("button", { name: "完成处置" }));
    expect(await screen.findByText(/登录已过期/)).toBeTruthy();
    const name = screen.getByLabelText("用户名");
    fireEvent.change(name, { target: { value: "li" } });
    fireEvent.change(screen.getByLabelText("密码"), { target: { value: "secret" } });
    fireEvent.submit(name);
    expect((await screen.findByLabelText<HTMLTextAreaElement>("备注")).value).toBe("long story");
  });

  it("announces a new alert and silences what rings", async () => {
    const { source } = open();
    expect(await screen.findByText("1 条告警正在响铃")).toBeTruthy();
    event(source(), alertOf({ id: "a2", kind: "duress" }), "raised");
    expect(screen.getByText("2 条告警正在响铃")).toBeTruthy();
    expect(screen.getByText(/新告警：紧急，胁迫报警，East gate/)).toBeTruthy();
    expect(document.title).toContain("(2)");
    fireEvent.click(screen.getByRole("button", { name: "消音" }));
    expect(screen.queryByText(/正在响铃/)).toBeNull();
    event(source(), alertOf({ id: "a3", late: true }), "raised");
    expect(screen.queryByText(/正在响铃/)).toBeNull();
    expect(screen.getByText("补报")).toBeTruthy();
  });

  it("sounds once for a storm, and stops when the last is acknowledged", async () => {
    const { source } = open();
    await screen.findByText("1 条告警正在响铃");
    for (let n = 2; n < 20; n += 1) event(source(), alertOf({ id: `a${n}` }), "raised");
    expect(played.filter((sound) => sound.sounding)).toHaveLength(1);
    for (let n = 1; n < 20; n += 1) event(source(), alertOf({ id: `a${n}`, workflow: "acknowledged", acknowledged_at: "2026-11-23T12:00:01Z", version: 2 }), "acknowledged");
    expect(played.filter((sound) => sound.sounding)).toHaveLength(0);
  });

  it("says loudly that the browser keeps it silent, until a click arms it", async () => {
    AudioDouble.first = "suspended";
    open();
    fireEvent.click(await screen.findByRole("button", { name: "启用声音" }));
    expect(screen.getByText("现有 1 条告警应当响铃，但没有声音。")).toBeTruthy();
    expect(await screen.findByText("1 条告警正在响铃")).toBeTruthy();
    expect(screen.queryByText(/浏览器禁止了声音/)).toBeNull();
  });

  it("says loudly that this browser cannot sound", async () => {
    vi.stubGlobal("AudioContext", undefined);
    open();
    await screen.findByRole("article");
    expect(await screen.findByText(/此浏览器不支持声音/)).toBeTruthy();
  });

  it("greys what is old when the connection is lost", async () => {
    const { source } = open();
    await screen.findByRole("article");
    await waitFor(() => { expect(screen.getByText("实时更新")).toBeTruthy(); });
    act(() => { source().fail(0); });
    expect(screen.getByText("连接中断")).toBeTruthy();
    expect(screen.getByText(/以下内容截至/)).toBeTruthy();
    expect(screen.getByRole("main").className).toContain("stale");
  });

  it("shows kinds and states that it does not know by their own words", async () => {
    open({ "GET alerts": () => json({ items: [alertOf({ kind: "lift_stuck", severity: "dire", workflow: "pondered" })], next: null }) });
    expect(await screen.findByText("lift_stuck")).toBeTruthy();
    expect(screen.getByText("pondered")).toBeTruthy();
  });

  it("shows doors, and no alerts, to a role without the right", async () => {
    const { asked } = open({ "GET session": () => json({ user: { id: "u2", username: "wu", role: "integrator", scopes: ["doors:read"] } }) });
    expect(await screen.findByText(/您的角色（集成商）不能查看/)).toBeTruthy();
    expect(await screen.findByText("West gate")).toBeTruthy();
    expect(asked.map(({ call }) => call)).not.toContain("GET alerts");
  });

  it("comes in by itself when the gateway is back, without a log-in if the session lives", async () => {
    const session = vi.fn(() => json({ detail: "starting" }, 503));
    open({ "GET session": session });
    expect(await screen.findByText(/无法连接网关/)).toBeTruthy();
    session.mockImplementation(() => json(USER));
    expect(await screen.findByRole("article", {}, { timeout: 4_500 })).toBeTruthy();
  });

  it("opens no feed for a role that has nothing to see", async () => {
    const { asked } = open({ "GET session": () => json({ user: { id: "u3", username: "an", role: "audit_administrator", scopes: ["audit:read"] } }) });
    expect(await screen.findByText(/您的角色（审计管理员）不能查看/)).toBeTruthy();
    expect(asked.map(({ call }) => call)).toEqual(["GET session"]);
  });

  it("lists the past page by page", async () => {
    const { asked } = open();
    await screen.findByRole("article");
    fireEvent.click(screen.getByText("全部"));
    await waitFor(() => { expect(asked.some(({ query }) => query.startsWith("status=all"))).toBe(true); });
    expect(await screen.findByRole("article")).toBeTruthy();
  });

  it("logs out", async () => {
    open({ "DELETE session": () => json(null, 204) });
    fireEvent.click(await screen.findByRole("button", { name: "退出登录" }));
    expect(await screen.findByLabelText("用户名")).toBeTruthy();
  });
});
