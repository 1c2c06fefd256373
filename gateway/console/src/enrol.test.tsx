import { cleanup, fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { chosen, idle, open, photo, stub, unstub } from "./dialogs";
import { json, personOf } from "./samples";

beforeEach(stub);
afterEach(unstub);

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
    expect(await screen.findByText(/The file is too large/)).toBeTruthy();
    expect(asked.map(({ call }) => call)).not.toContain("PUT people/p1/face");
  });

  const ENROLLED = personOf({ faces: [{ id: "f1", edge_id: "e", at: "2026-11-23T12:00:00Z" }] });
  const ANEW = /^Replace it with another face/;

  it("lets another face replace the one enrolled only where the manager says so, once, and says what to do", async () => {
    const put = vi.fn().mockResolvedValueOnce(json({ detail: "x", reason: "differs" }, 422)).mockImplementation(() => json({ similar_to: [] }));
    const { asked } = await chosen({ "PUT people/p1/face": put }, ENROLLED);
    const sent = (): string[] => asked.filter(({ call }) => call === "PUT people/p1/face").map(({ query }) => query);
    const picker = screen.getByLabelText("Choose photos");
    fireEvent.change(picker, { target: { files: [photo("a.jpg")] } });
    expect(await screen.findByText(/check the name; .* choose to replace it with another face/)).toBeTruthy();
    await waitFor(() => { expect(screen.getByLabelText<HTMLInputElement>(ANEW).disabled).toBe(false); });
    fireEvent.click(screen.getByLabelText(ANEW));
    fireEvent.change(picker, { target: { files: [photo("a.jpg"), photo("b.jpg")] } });
    await waitFor(() => { expect(sent()).toEqual(["", "anew=true", "add=true"]); });
    await waitFor(() => { expect(screen.getByLabelText<HTMLInputElement>("Replace what is enrolled").checked).toBe(true); });
  });

  it("lets another face replace the one enrolled at a door only where the manager says so, once", async () => {
    const run = { id: "e1", state: "refused", done: 3, wanted: 3, hint: "", reason: "differs", detail: "" };
    const begun = vi.fn().mockResolvedValueOnce(json(run, 202)).mockImplementation(() => json({ ...run, state: "waiting", reason: null }, 202));
    const { asked } = await chosen({
      "POST people/p1/face/at-door": begun, "GET face-enrolments/e1": () => json({ ...run, state: "confirmed", reason: null }),
    }, ENROLLED);
    fireEvent.click(screen.getByText("At a door"));
    expect(screen.queryByLabelText("Add to what is enrolled")).toBeNull();
    fireEvent.click(await idle(/Start$/));
    expect(await screen.findByText(/check the name/)).toBeTruthy();
    fireEvent.click(screen.getByLabelText(ANEW));
    fireEvent.click(await idle(/Once more$/));
    await waitFor(() => { expect(screen.getByLabelText<HTMLInputElement>("Replace what is enrolled").checked).toBe(true); }, { timeout: 3_000 });
    const sent = asked.filter(({ call }) => call.startsWith("POST")).map(({ body }) => body);
    expect(sent).toEqual([{ door_id: "d1", pictures: 3, anew: false }, { door_id: "d1", pictures: 3, anew: true }]);
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
    expect(asked.find(({ call }) => call.startsWith("POST"))?.body).toEqual({ door_id: "d1", pictures: 3, anew: false });
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
