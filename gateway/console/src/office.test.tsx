import { App as AntApp } from "antd";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Door } from "./api";
import type { Answers } from "./samples";
import { cameraOf, doorOf, faceOf, gatewayOf, json, personOf } from "./samples";
import { CATALOGUES, Text } from "./text/language";
import { EnrolDialog } from "./views/EnrolDialog";
import { EvidenceDialog } from "./views/EvidenceDialog";
import { FaceState } from "./views/FaceState";
import { ZoneDialog } from "./views/ZoneDialog";

const DOORS = new Map([["d1", doorOf({ face: faceOf() })]]);
const photo = (name: string, type = "image/jpeg", bytes = 10): File => new File([new Uint8Array(bytes)], name, { type });
const settings = (change: object = {}): object => ({ id: "c1", name: "East camera", near_zone: [0, 0, 1, 1], seeded: false, version: 4, register: {}, ...change });

beforeEach(() => {
  vi.stubGlobal("ResizeObserver", class { observe = vi.fn(); unobserve = vi.fn(); disconnect = vi.fn(); });
  vi.stubGlobal("matchMedia", (query: string) => ({ matches: false, media: query, addListener: vi.fn(), removeListener: vi.fn(), addEventListener: vi.fn(), removeEventListener: vi.fn() }));
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

type Dialog = "enrol" | "zone" | "evidence";

/** Open a dialog in English over a gateway that answers as told. */
function open(dialog: Dialog, answers: Answers): { asked: ReturnType<typeof gatewayOf>["asked"]; expired: () => number; unmount: () => void } {
  const { gateway, asked } = gatewayOf(answers);
  const onExpired = vi.fn();
  const props = { gateway, doors: DOORS, onExpired, onClose: vi.fn() };
  const drawn = { enrol: <EnrolDialog {...props} />, zone: <ZoneDialog {...props} camera={cameraOf({ door_id: "d1" })} />, evidence: <EvidenceDialog {...props} /> };
  const { unmount } = render(<Text value={CATALOGUES.en}><AntApp>{drawn[dialog]}</AntApp></Text>);
  return { asked, expired: () => onExpired.mock.calls.length, unmount };
}

async function chosen(answers: Answers, person = personOf()): Promise<ReturnType<typeof open>> {
  const opened = open("enrol", { "GET people": () => json({ items: [person], next: null }), "GET people/p1": () => json(person), ...answers });
  const name = screen.getByLabelText("Name");
  fireEvent.change(name, { target: { value: " Wang " } });
  fireEvent.submit(name);
  fireEvent.click(await screen.findByRole("button", { name: /Wang Fang/ }));
  await waitFor(() => { expect(document.querySelector("[data-consent]")).not.toBeNull(); });
  return opened;
}

/** Return a button once nothing loads behind it: until then it takes no click. */
async function idle(name: RegExp): Promise<HTMLElement> {
  const button = await screen.findByRole("button", { name });
  await waitFor(() => { expect(button.className).not.toContain("loading"); });
  return button;
}

describe("how a door uses faces", () => {
  const draw = (change: Partial<Door>): string => render(<Text value={CATALOGUES.en}><FaceState door={doorOf(change)} /></Text>).container.textContent;

  it("is told with its reasons, the people, and what is needed", () => {
    const said = draw({ face: faceOf(), factors: ["face", "card"] });
    expect(said).toContain("Faces off");
    expect(said).toContain("60 enrolled");
    expect(said).toContain("Nothing tells a live face from a picture here");
    expect(said).toContain("179,911 pairs of persons without a false match");
    expect(said).toContain("Liveness: none");
  });

  it("is with card or PIN where the door names that, alone where the edge says so, and nothing where no face is taken", () => {
    expect(draw({ face: faceOf(), factors: ["face+card", "pin"] })).toContain("Face with card or PIN");
    const alone = draw({ face: faceOf({ alone: true, radius: 0.4, why_not: [] }), factors: ["face", "card"] });
    expect(alone).toContain("Face alone opens");
    expect(alone).toContain("0.40");
    expect(alone).not.toContain("needed");
    expect(draw({})).toBe("");
  });
});

describe("the enrolment of a face", () => {
  it("sends photos one by one with the reason, the first in place of what was there, and says what is wrong with each", async () => {
    const put = vi.fn().mockResolvedValueOnce(json({ detail: "x", reason: "blurred" }, 422)).mockImplementation(() => json({ similar_to: [] }));
    const { asked } = await chosen({ "PUT people/p1/face": put });
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "moved in" } });
    fireEvent.change(screen.getByLabelText("Choose photos"), { target: { files: [photo("a.jpg"), photo("b.jpg"), photo("c.png", "image/png"), photo("d.gif", "image/gif")] } });
    await waitFor(() => { expect(document.querySelectorAll("[data-photo=taken]")).toHaveLength(2); });
    expect(screen.getByText("Blurred")).toBeTruthy();
    expect(screen.getByText("Not a readable JPEG or PNG")).toBeTruthy();
    expect(asked.filter(({ call }) => call === "PUT people/p1/face").map(({ query }) => query)).toEqual(["", "", "add=true"]);
    const headers = (put.mock.calls[1]?.[0] as RequestInit).headers as Record<string, string>;
    expect(headers["Gatehouse-Reason"]).toBe("moved%20in");
    expect(document.querySelector("img")).toBeNull();
  });

  it("refuses more photos than a person may have, and a file that is too long, without sending it", async () => {
    const { asked } = await chosen({});
    const picker = screen.getByLabelText("Choose photos");
    fireEvent.change(picker, { target: { files: Array.from({ length: 6 }, (_, n) => photo(`${n}.jpg`)) } });
    expect(await screen.findByText("5 photos at most")).toBeTruthy();
    fireEvent.change(picker, { target: { files: [photo("long.jpg", "image/jpeg", 4 * 1024 * 1024 + 1)] } });
    expect(await screen.findByText("The photo is too large")).toBeTruthy();
    expect(asked.map(({ call }) => call)).not.toContain("PUT people/p1/face");
  });

  it("says what to record first, and asks nobody again who refused", async () => {
    await chosen({}, personOf({ consents: [] }));
    expect(screen.getByText(/First show the notice and record/)).toBeTruthy();
    expect(screen.queryByLabelText("Choose photos")).toBeNull();
    cleanup();
    await chosen({}, personOf({ consents: [], may_be_asked: [] }));
    expect(screen.getByText(/Do not ask again/)).toBeTruthy();
    expect(screen.queryByText(/First show the notice/)).toBeNull();
    expect(screen.queryByLabelText("Choose photos")).toBeNull();
  });

  it("says live at a door what to do, and when it is done", async () => {
    const run = { id: "e1", state: "waiting", done: 0, wanted: 3, hint: "", reason: null, detail: "" };
    const steps = [{ ...run, state: "running", hint: "come_closer" }, { ...run, state: "running", done: 2, hint: "turn_slightly" }, { ...run, state: "confirmed", done: 3 }];
    const { asked } = await chosen({
      "POST people/p1/face/at-door": () => json(run, 202), "GET face-enrolments/e1": () => json(steps.shift() ?? run),
    });
    fireEvent.click(screen.getByText("At a door"));
    fireEvent.click(await idle(/Start$/));
    expect(await screen.findByText("Come closer", {}, { timeout: 3_000 })).toBeTruthy();
    expect(await screen.findByText("Turn your head a little", {}, { timeout: 3_000 })).toBeTruthy();
    expect(screen.getByText("2 of 3 pictures")).toBeTruthy();
    await waitFor(() => { expect(document.querySelector("[data-enrolment=confirmed]")).not.toBeNull(); }, { timeout: 3_000 });
    expect(asked.find(({ call }) => call.startsWith("POST"))?.body).toEqual({ door_id: "d1", pictures: 3 });
    expect(asked.map(({ call }) => call)).not.toContain("DELETE face-enrolments/e1");
  });

  it("calls an enrolment at a door off when its dialog is left", async () => {
    const run = { id: "e1", state: "running", done: 0, wanted: 3, hint: "", reason: null, detail: "" };
    const { asked, unmount } = await chosen({
      "POST people/p1/face/at-door": () => json(run, 202), "GET face-enrolments/e1": () => json(run), "DELETE face-enrolments/e1": () => json(null, 204),
    });
    fireEvent.click(screen.getByText("At a door"));
    fireEvent.click(await idle(/Start$/));
    await screen.findByRole("button", { name: /Stop$/ });
    unmount();
    await waitFor(() => { expect(asked.map(({ call }) => call)).toContain("DELETE face-enrolments/e1"); });
  });

  it("returns to the log-in when the session has ended", async () => {
    const { expired } = open("enrol", { "GET people": () => json({ detail: "log in" }, 401) });
    const name = screen.getByLabelText("Name");
    fireEvent.change(name, { target: { value: "Wang" } });
    fireEvent.submit(name);
    await waitFor(() => { expect(expired()).toBe(1); });
  });
});

describe("the near zone", () => {
  it("is drawn with keys and numbers on a picture, and saved for the version that was seen", async () => {
    const save = vi.fn(() => json(settings({ near_zone: [0, 0, 1, 1, 0.8, 0.5], version: 5 })));
    const look = vi.fn(() => new Response(new Blob(["jpeg"]), { status: 200 }));
    const asked = { id: "s1", camera_id: "c1", state: "waiting", reason: "", detail: "" };
    const opened = open("zone", {
      "GET cameras/c1/settings": () => json(settings()), "PATCH cameras/c1/settings": save,
      "POST cameras/c1/stills": () => json(asked, 202), "GET cameras/c1/stills/s1": () => json({ ...asked, state: "ready" }),
      "GET cameras/c1/stills/s1/picture": look,
    });
    const made = vi.spyOn(URL, "createObjectURL").mockReturnValue("blob:still");
    const revoked = vi.spyOn(URL, "revokeObjectURL");
    expect((await idle(/Take a picture$/) as HTMLButtonElement).disabled, "a reason comes first").toBe(true);
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "画近区" } });
    fireEvent.click(await idle(/Take a picture$/));
    const image = await screen.findByRole("img", { name: /faces unrecognisable/ }, { timeout: 3_000 });
    expect(image.getAttribute("src")).toBe("blob:still");
    expect(made).toHaveBeenCalledTimes(1);
    expect(((look.mock.calls as unknown[][])[0]?.[0] as RequestInit).headers).toMatchObject({ "Gatehouse-Reason": encodeURIComponent("画近区") });
    fireEvent.keyDown(screen.getByRole("button", { name: /^Corner 1:/ }), { key: "ArrowRight", shiftKey: true });
    fireEvent.keyDown(screen.getByRole("button", { name: /^Corner 1: 5.0 % across/ }), { key: "ArrowDown" });
    fireEvent.click(screen.getByRole("button", { name: "Add a corner after corner 1" }));
    fireEvent.click(screen.getByRole("button", { name: "Remove corner 4" }));
    const field = screen.getByRole("spinbutton", { name: "Corner 4, percent across" });
    fireEvent.change(field, { target: { value: "10" } });
    fireEvent.click(await idle(/Save$/));
    await waitFor(() => { expect(save).toHaveBeenCalled(); });
    const change = opened.asked.find(({ call }) => call.startsWith("PATCH"))?.body as { near_zone: number[] };
    expect(change.near_zone).toEqual([0.05, 0.005, 0.525, 0.003, 1, 0, 0.1, 1]);
    expect(((save.mock.calls as unknown[][])[0]?.[0] as RequestInit).headers).toMatchObject({ "If-Match": '"4"' });
    opened.unmount();
    expect(revoked).toHaveBeenCalledWith("blob:still");
  });

  it("cannot be saved while its sides cross, or where the site file rules", async () => {
    open("zone", { "GET cameras/c1/settings": () => json(settings({ near_zone: [0, 0, 1, 1, 1, 0, 0, 1] })) });
    expect(await screen.findByText(/Sides cross/)).toBeTruthy();
    expect(screen.getByRole<HTMLButtonElement>("button", { name: /Save$/ }).disabled).toBe(true);
    cleanup();
    open("zone", { "GET cameras/c1/settings": () => json(settings({ seeded: true, near_zone: [0.1, 0.2, 0.9, 1] })) });
    expect(await screen.findByText("near_zone: [0.1, 0.2, 0.9, 1]")).toBeTruthy();
    expect(screen.getByRole<HTMLButtonElement>("button", { name: /Save$/ }).disabled).toBe(true);
  });

  it("says why there is no picture, and can be drawn all the same", async () => {
    const failed = { id: "s1", camera_id: "c1", state: "failed", reason: "unblurrable", detail: "" };
    open("zone", { "GET cameras/c1/settings": () => json(settings()), "POST cameras/c1/stills": () => json(failed, 202) });
    fireEvent.change(await screen.findByLabelText("Reason"), { target: { value: "zone" } });
    fireEvent.click(await idle(/Take a picture$/));
    expect(await screen.findByText(/A face could not be hidden/)).toBeTruthy();
    expect(screen.getByRole<HTMLButtonElement>("button", { name: /Save$/ }).disabled).toBe(false);
  });
});

describe("the evidence", () => {
  const counts = { id: "k1", edge_id: "edge-1", contract: "m", source: "site", persons: 60, pairs: 1770, at: "2026-11-23T12:00:00Z", in_force: true,
    carries: [{ people: 12, radius: 0, needed_pairs: 35_983 }, { people: 60, radius: 0.38, needed_pairs: 179_911 }] };

  it("is listed with what it carries, and counted anew", async () => {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => { end = resolve; });
    const { asked } = open("evidence", {
      "GET sites/s1/calibrations": () => json({ items: [counts], next: null }),
      "POST sites/s1/calibrations/count": () => json({ items: [{ edge_id: "edge-1", state: "waiting", reason: null, detail: "" }] }, 202),
      "GET sites/s1/calibrations/count": () => ended.then(() => json({ items: [
        { edge_id: "edge-1", state: "confirmed", reason: null, detail: "" }, { edge_id: "edge-2", state: "refused", reason: "too_few_people", detail: "1 enrolled" },
      ] })),
    });
    expect(await screen.findByText("1,770")).toBeTruthy();
    expect(screen.getByText("60: 0.38")).toBeTruthy();
    expect(screen.getByText("12: too little, 35,983 pairs needed")).toBeTruthy();
    fireEvent.click(await idle(/Count now$/));
    expect(await screen.findByText("edge-1: counting")).toBeTruthy();
    end();
    expect(await screen.findByText("edge-1: counted", {}, { timeout: 3_000 })).toBeTruthy();
    expect(screen.getByText("edge-2: Fewer than 2 people are enrolled")).toBeTruthy();
    await waitFor(() => { expect(asked.filter(({ call }) => call === "GET sites/s1/calibrations")).toHaveLength(2); });
  });
});
