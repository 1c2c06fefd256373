import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { Door } from "./api";
import { idle, open, stub, unstub } from "./dialogs";
import { doorOf, faceOf, json } from "./samples";
import { CATALOGUES, Text } from "./text/language";
import { FaceState } from "./views/FaceState";

const settings = (change: object = {}): object => ({ id: "c1", name: "East camera", near_zone: [0, 0, 1, 1], seeded: false, version: 4, register: {}, ...change });

beforeEach(stub);
afterEach(unstub);

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
