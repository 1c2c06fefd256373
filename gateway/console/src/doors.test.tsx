import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { Problem } from "./api";
import { idle, open, stub, unstub } from "./dialogs";
import type { DoorSettings } from "./doors";
import { ruleAtFault } from "./doors";
import { doorOf, json, personOf } from "./samples";

const settingsOf = (change: Partial<DoorSettings> = {}): DoorSettings => ({
  id: "d1", name: "East gate", site_id: "s1", seeded: false, version: 4, factors: ["card", "pin"], passback: "off", passback_reset_min: 0, interlock: "",
  two_person: false, second_within_s: 15, free_schedule_id: null, first_person: false, held_open_s: 30, unlock_s: 5, fail: "secure", exit_kind: "button", ...change,
});
const SCHEDULES = { "GET schedules": () => json({ items: [{ id: "day", site_id: "s1", name: "Daytime" }, { id: "far", site_id: "s2", name: "Elsewhere" }] }) };
const rule = (name: string): HTMLElement => screen.getByRole("group", { name });
const disabled = (name: RegExp): boolean => screen.getByRole<HTMLButtonElement>("button", { name }).disabled;

beforeEach(() => {
  localStorage.clear();
  stub();
});
afterEach(unstub);

describe("the rules of a door", () => {
  it("are shown as they are, and only what was changed is saved, for the version that was seen, with the reason", async () => {
    let sent: RequestInit = {};
    const { asked } = open("rules", {
      ...SCHEDULES, "GET doors/d1/settings": () => json(settingsOf()),
      "PATCH doors/d1/settings": (init) => { sent = init; return json(settingsOf({ version: 5, two_person: true, factors: ["card", "qr"] })); },
    });
    await screen.findByRole("group", { name: "What opens it" });
    expect(disabled(/Save$/), "nothing is changed yet").toBe(true);
    fireEvent.click(within(rule("What opens it")).getByRole("checkbox", { name: "Personal PIN" }));
    fireEvent.click(within(rule("What opens it")).getByRole("checkbox", { name: "QR" }));
    expect(screen.queryByLabelText("The second must ask within")).toBeNull();
    fireEvent.click(screen.getByRole("checkbox", { name: "Two people must ask" }));
    expect(screen.getByLabelText("The second must ask within")).toBeTruthy();
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "sluice" } });
    fireEvent.click(await idle(/Save$/));
    await screen.findByText("Saved; the edge follows at once");
    expect(asked.find(({ call }) => call.startsWith("PATCH"))?.body).toEqual({ factors: ["card", "qr"], two_person: true });
    expect(sent.headers).toMatchObject({ "If-Match": '"4"', "Gatehouse-Reason": "sluice" });
  });

  it("tell what is wrong at the rule that it is about", async () => {
    open("rules", {
      ...SCHEDULES, "GET doors/d1/settings": () => json(settingsOf()),
      "PATCH doors/d1/settings": () => json({ detail: "it needs a reader on either side", where: "doors.d1.passback" }, 422),
    });
    fireEvent.click(await screen.findByRole("radio", { name: "Refuse" }));
    fireEvent.click(await idle(/Save$/));
    expect((await within(rule("Anti-passback")).findByRole("alert")).textContent).toBe("it needs a reader on either side");
    expect(within(rule("Interlock group")).queryByRole("alert")).toBeNull();
  });

  it("are loaded anew where somebody was faster, and nothing of theirs is overwritten", async () => {
    let held = settingsOf();
    const { asked } = open("rules", {
      ...SCHEDULES, "GET doors/d1/settings": () => json(held),
      "PATCH doors/d1/settings": () => { held = settingsOf({ version: 5, unlock_s: 9 }); return json({ detail: "changed meanwhile" }, 409); },
    });
    fireEvent.change(await screen.findByLabelText("Interlock group"), { target: { value: "sluice" } });
    fireEvent.click(await idle(/Save$/));
    expect((await screen.findByRole("alert")).textContent).toContain("Somebody changed this door meanwhile");
    expect(screen.getByLabelText<HTMLInputElement>("Time to pass").value).toBe("9");
    expect(screen.getByLabelText<HTMLInputElement>("Interlock group").value).toBe("");
    expect(asked.filter(({ call }) => call.startsWith("PATCH"))).toHaveLength(1);
  });

  it("say a refusal for another cause in its own words, and give up the first person with the schedule", async () => {
    const { asked } = open("rules", {
      ...SCHEDULES, "GET doors/d1/settings": () => json(settingsOf({ free_schedule_id: "day", first_person: true })),
      "PATCH doors/d1/settings": () => json({ detail: "edge-2 has the other door" }, 409),
    });
    expect((await screen.findByRole<HTMLInputElement>("checkbox", { name: /Only once somebody/ })).checked).toBe(true);
    fireEvent.mouseDown(screen.getByLabelText("Stands unlocked"));
    expect(screen.queryByTitle("Elsewhere"), "another site's").toBeNull();
    fireEvent.click(await screen.findByTitle("Never"));
    fireEvent.click(await idle(/Save$/));
    expect((await screen.findByRole("alert")).textContent).toContain("edge-2 has the other door");
    expect(asked.find(({ call }) => call.startsWith("PATCH"))?.body).toEqual({ free_schedule_id: null, first_person: false });
  });

  it("of the site file are read only, and schedules are not asked for without the right", async () => {
    const { asked } = open("rules without schedules", { "GET doors/d1/settings": () => json(settingsOf({ seeded: true, free_schedule_id: "day" })) });
    expect(await screen.findByText(/comes from the site file/)).toBeTruthy();
    expect(screen.getByLabelText<HTMLInputElement>("Interlock group").disabled).toBe(true);
    expect(disabled(/Save$/)).toBe(true);
    expect(screen.getByText(/Your role sees no schedules/)).toBeTruthy();
    expect(asked.map(({ call }) => call)).toEqual(["GET doors/d1/settings"]);
  });

  it.each([
    ["doors.d1.factors", 422, "factors"], ["body.factors.0", 422, "factors"], ["free_schedule_id", 422, "free_schedule_id"], ["edge_id", 422, null],
    ["doors.d1.factors", 409, null],
  ])("a refusal about %s (%i) is about %s", (where, status, expected) => {
    expect(ruleAtFault(new Problem(status, "no", { where }))).toBe(expected);
  });
});

describe("a bypass", () => {
  it("takes kinds, a time and a reason", async () => {
    const { asked } = open("bypass", { "POST doors/d1/bypass": () => json({}, 201) });
    expect(disabled(/Begin$/)).toBe(true);
    fireEvent.click(screen.getByRole("checkbox", { name: "Door forced open" }));
    fireEvent.click(screen.getByRole("checkbox", { name: "Tamper" }));
    fireEvent.click(screen.getByText("4 h"));
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "  no " } });
    expect(disabled(/Begin$/), "too short a reason").toBe(true);
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: " new hinges " } });
    fireEvent.click(await idle(/Begin$/));
    await screen.findByText("Alarms are bypassed");
    expect(asked[0]?.body).toEqual({ kinds: ["door_forced", "door_tampered"], minutes: 240, reason: "new hinges" });
    expect(screen.queryByRole("button", { name: /End it now/ }), "none stands").toBeNull();
  });

  it("that stands is shown with who began it, and ended early", async () => {
    const bypass = { kinds: ["door_forced"], reason: "new hinges", by: "li", until: "2099-11-23T12:30:00Z" };
    const { asked } = open("bypass", { "DELETE doors/d1/bypass": () => json(null, 204) }, doorOf({ bypass }));
    expect(screen.getByText("li: new hinges")).toBeTruthy();
    fireEvent.click(screen.getByRole("button", { name: /End it now/ }));
    await screen.findByText("The bypass has ended");
    expect(asked.map(({ call }) => call)).toEqual(["DELETE doors/d1/bypass"]);
  });
});

describe("a card", () => {
  const DESK = { id: "desk", site_id: "s1", name: "Desk reader", notation: "decimal", frame: 0, width: 4, reverse: true, keep: 0, keep_from: "end" };
  const fang = personOf({ external_id: "R-1024" });
  const answers = {
    "GET people": () => json({ items: [fang], next: null }), "GET people/p1": () => json(fang), "GET card-formats": () => json({ items: [DESK, { ...DESK, id: "far", site_id: "s2", name: "Far" }] }),
  };
  const field = (): HTMLInputElement => screen.getByLabelText("Number of the card");

  async function chosen(given: Parameters<typeof open>[1]): Promise<ReturnType<typeof open>> {
    const opened = open("card", { ...answers, ...given });
    fireEvent.change(screen.getByLabelText("Name or external id"), { target: { value: "R-1024" } });
    fireEvent.submit(screen.getByLabelText("Name or external id"));
    fireEvent.click(await screen.findByRole("button", { name: /Wang Fang/ }));
    await screen.findByLabelText("Number of the card");
    return opened;
  }

  it("is given to who has a name or a number, by the canonical number that was shown, and the desk's format is remembered", async () => {
    const { asked, unmount } = await chosen({ "POST people/p1/credentials": () => json({}, 201) });
    expect(asked.filter(({ call }) => call === "GET people").map(({ query }) => query).sort()).toEqual(["external_id=R-1024", "name=R-1024&limit=20"]);
    fireEvent.mouseDown(screen.getByLabelText("Format of the desk reader"));
    expect(screen.queryByTitle("Far")).toBeNull();
    fireEvent.click(await screen.findByTitle("Desk reader"));
    fireEvent.change(field(), { target: { value: "0514229873" } });
    fireEvent.keyDown(field(), { key: "Enter" });
    expect(screen.getByText("7186A61E")).toBeTruthy();
    expect(asked.map(({ call }) => call), "Enter saves nothing").not.toContain("POST people/p1/credentials");
    fireEvent.change(screen.getByLabelText("Label of the card"), { target: { value: " blue " } });
    fireEvent.click(await idle(/Give the card$/));
    await screen.findByText("Card given to Wang Fang");
    expect(asked.find(({ call }) => call.startsWith("POST"))?.body).toEqual({ kind: "card", value: "7186A61E", label: "blue" });
    await waitFor(() => { expect(field().value).toBe(""); });
    unmount();
    await chosen({});
    expect(screen.getByTitle("Desk reader")).toBeTruthy();
  });

  it("that cannot be read is not given, and a refusal leaves the keyboard where the next card is typed", async () => {
    await chosen({ "POST people/p1/credentials": () => json({ detail: "somebody has this card" }, 409) });
    fireEvent.change(field(), { target: { value: "no card" } });
    expect(screen.getByText("This format has hexadecimal digits")).toBeTruthy();
    expect(disabled(/Give the card$/)).toBe(true);
    fireEvent.change(field(), { target: { value: "00:1e:a6" } });
    expect(screen.getByText("1EA6")).toBeTruthy();
    fireEvent.click(await idle(/Give the card$/));
    expect((await screen.findByRole("alert")).textContent).toContain("somebody has this card");
    await waitFor(() => { expect(document.activeElement).toBe(field()); });
    expect(field().value).toBe("00:1e:a6");
  });
});
