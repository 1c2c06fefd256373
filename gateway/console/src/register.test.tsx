import { fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { streamOf } from "./devices";
import { idle, open, stub, unstub } from "./dialogs";
import { csvOf, masksOf } from "./register";
import { cameraOf, json } from "./samples";

const CAMERAS = ["c1", "c2", "c3"].map((id) => cameraOf({ id, name: `Camera ${id}` }));
const ENTRIES = CAMERAS.map(({ id }) => ({ camera_id: id, complete: id === "c3" }));

beforeEach(stub);
afterEach(unstub);

describe("registering many cameras", () => {
  it("previews first, registers the good ones, and tells of each other one why", async () => {
    const { asked } = open("devices", {
      "GET edges": () => json({ items: [] }), "GET devices": () => json({ items: [] }), "GET cameras": () => json({ items: CAMERAS }),
      "GET sites/s1/register": () => json({ items: ENTRIES }),
      "POST cameras/register": () => json({ items: [
        { camera_id: "c1", state: "changed", name: "Block 3 1", reason: "", detail: "" }, { camera_id: "c2", state: "refused", name: "", reason: "from_site_file", detail: "x" },
      ] }),
    });
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "walk of May" } });
    fireEvent.click(screen.getByRole("tab", { name: "Register many" }));
    fireEvent.click(await screen.findByRole("checkbox", { name: "All without an entry (2)" }));
    for (const [label, value] of [["Purpose", "the court"], ["Day on which the sign was seen", "2026-05-01"], ["Pattern of names", "Block 3 {n}"], [/Privacy masks/, "0 0 100 10"]] as const) {
      fireEvent.change(screen.getByLabelText(label), { target: { value } });
    }
    expect((await idle(/^Preview$/) as HTMLButtonElement).disabled, "nobody has checked the banned areas").toBe(true);
    fireEvent.click(screen.getByRole("checkbox", { name: /article 8/ }));
    fireEvent.click(await idle(/^Preview$/));
    await screen.findByText("Preview: 1 would be registered, 1 cannot be. Nothing is changed yet.");
    expect(document.querySelector("[data-row=c2]")?.textContent).toContain("the site file describes it");
    const [first] = asked.filter(({ call }) => call === "POST cameras/register");
    expect(first?.body).toEqual({
      cameras: ["c1", "c2"], replace: false, name: "Block 3 {n}", first: 1, rate: null, privacy_masks: [[0, 0, 1, 0.1]], each: true, preview: true,
      register: { purpose: "the court", place_class: "community_common", sign_confirmed_on: "2026-05-01", banned_area_checked: true, filed_on: null, responsible: "" },
    });
    fireEvent.click(await idle(/Register 1 camera$/));
    await screen.findByText("1 registered, 1 not.");
    expect(asked.filter(({ call }) => call === "POST cameras/register")[1]?.body).toMatchObject({ preview: false, each: true });
    fireEvent.change(screen.getByLabelText("Purpose"), { target: { value: "the gate" } });
    await waitFor(() => { expect(screen.queryByText("1 registered, 1 not."), "it is another form now").toBeNull(); });
  });
});

describe("what is typed and taken along", () => {
  it.each([
    ["0 0 100 10", [[0, 0, 1, 0.1]]], ["10%, 20%, 30%, 40%\n0 0 1 1\n", [[0.1, 0.2, 0.3, 0.4], [0, 0, 0.01, 0.01]]], ["", []],
    ["50 0 10 10", null], ["0 0 101 10", null], ["a b c d", null], ["0 0 10", null], [Array(17).fill("0 0 1 1").join("\n"), null],
  ])("reads masks %j", (text, masks) => { expect(masksOf(text)).toEqual(masks); });

  it.each([
    ["192.0.2.9", "", "rtsp://192.0.2.9"], ["192.0.2.9:554", "live/1?x=1", "rtsp://192.0.2.9:554/live/1?x=1"], ["RTSPS://cam/a", "/b", "rtsps://cam/b"],
    ["rtsp://[2001:db8::1]:554/a", "", "rtsp://[2001:db8::1]:554/a"], ["http://x", "", null], ["", "", null],
  ])("puts %j and %j together", (address, path, url) => { expect(streamOf(address, path)?.address ?? null).toBe(url); });

  it("writes no formula into a spreadsheet", () => {
    expect(csvOf(["a"], [["=1+1"], ['say "x"']])).toBe('\uFEFF"a"\r\n"\'=1+1"\r\n"say ""x"""\r\n');
  });
});
