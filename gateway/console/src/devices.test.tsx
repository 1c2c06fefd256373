import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { idle, open, stub, unstub } from "./dialogs";
import type { Device, Order } from "./devices";
import { cameraOf, json } from "./samples";

const PIN = "ab".repeat(32);
const PART = { id: "front", kind: "door", name: "Front", width_px: 0, height_px: 0, capabilities: ["contact", "whistle"], settings: {}, adopted_as: null };
const EYE = { id: "eye", kind: "camera", name: "Eye", width_px: 640, height_px: 360, capabilities: [], settings: {}, adopted_as: null };
const READER = { ...PART, id: "1", name: "reader 1", capabilities: ["card"], settings: { port: "/dev/ttyUSB0", address: 1, strike: 0 } };
const deviceOf = (change: Partial<Device> = {}): Device => ({
  id: "dv1", edge_id: "edge-1", state: "found", wire: "onvif", address: "https://192.0.2.9/", reach: "known", trouble: "", detail: "", code: "", maker: "M",
  model: "X1", serial: "7", fingerprint: "", has_credentials: true, parts: [PART, EYE], ...change,
});
const orderOf = (change: Partial<Order> = {}): Order => ({ id: "o1", state: "waiting", reason: "", detail: "", devices: [], notes: [], ...change });
const EDGES = { "GET cameras": () => json({ items: [cameraOf({ id: "eye-7", name: "East eye" })] }), "GET edges": () => json({ items: [{ id: "edge-1", name: "Gatehouse box", site_id: "s1", online: true, revoked_at: null }] }) };
const say = (why = "new door"): void => { fireEvent.change(screen.getByLabelText("Reason"), { target: { value: why } }); };

beforeEach(stub);
afterEach(unstub);

describe("adding devices", () => {
  it("has an edge search, once a reason is given, and lists what was found with its rung of the ladder", async () => {
    const held: Device[] = [];
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: held }),
      "POST devices/discover": () => { held.push(deviceOf({ reach: "heard", parts: [] })); return json(orderOf(), 202); },
      "GET devices/orders/o1": () => json(orderOf({ state: "confirmed", devices: ["dv1"] })),
    });
    await screen.findByText("No device was found yet");
    expect((await idle(/Search$/) as HTMLButtonElement).disabled).toBe(true);
    say();
    fireEvent.change(screen.getByLabelText(/Addresses/), { target: { value: "192.0.2.0/24, 192.0.2.9" } });
    fireEvent.click(await idle(/Search$/));
    expect(await screen.findByText("Step 1 of 5: heard of", {}, { timeout: 3_000 })).toBeTruthy();
    const order = asked.find(({ call }) => call === "POST devices/discover");
    expect(order?.body).toMatchObject({ edge_id: "edge-1", networks: ["192.0.2.0/24", "192.0.2.9"] });
    expect(screen.getByText("1 device")).toBeTruthy();
  });

  it("trusts a certificate only by hand and forgets the password that was typed", async () => {
    let device = deviceOf({ reach: "answers", trouble: "certificate", fingerprint: PIN, parts: [] });
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: [device] }),
      "POST devices/dv1/probe": () => { device = deviceOf(); return json(orderOf({ state: "confirmed", devices: ["dv1"] }), 202); },
    });
    await screen.findByText(PIN);
    say();
    fireEvent.change(screen.getByLabelText("User of the device"), { target: { value: "admin" } });
    fireEvent.change(screen.getByLabelText("Password of the device"), { target: { value: "s3cret" } });
    fireEvent.click(screen.getByRole("checkbox", { name: /fingerprint is right/ }));
    fireEvent.click(await idle(/Ask the device/));
    await screen.findByText("Step 4 of 5: credentials right");
    expect(asked.find(({ call }) => call === "POST devices/dv1/probe")?.body).toEqual({ user: "admin", password: "s3cret", trust: true });
    expect(screen.getByLabelText<HTMLInputElement>("Password of the device").value).toBe("");
    expect(screen.queryByText(PIN)).toBeNull();
  });

  it("hands new credentials to what is in use here only when somebody says so", async () => {
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: [deviceOf({ state: "adopted" })] }),
      "POST devices/dv1/probe": () => json(orderOf({ state: "confirmed", devices: ["dv1"] }), 202),
    });
    const passOn = await screen.findByRole("checkbox", { name: /take these credentials over/ });
    say();
    fireEvent.click(await idle(/Ask the device/));
    await waitFor(() => { expect(asked.filter(({ call }) => call === "POST devices/dv1/probe").map(({ body }) => body)).toEqual([{ user: "", trust: false }]); });
    fireEvent.click(passOn);
    fireEvent.click(await idle(/Ask the device/));
    await waitFor(() => { expect(asked.findLast(({ call }) => call === "POST devices/dv1/probe")?.body).toEqual({ user: "", trust: false, pass_on: true }); });
  });

  it("tries a camera and a door, says how that ended, and adopts under a name", async () => {
    let device = deviceOf();
    vi.spyOn(URL, "createObjectURL").mockReturnValue("blob:look");
    vi.spyOn(URL, "revokeObjectURL");
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: [device] }),
      "POST devices/dv1/try": (init) => json(typeof init.body === "string" && init.body.includes("still") ? orderOf({ state: "confirmed" }) : orderOf({ id: "o2", state: "refused", reason: "refused" }), 202),
      "GET devices/orders/o1/picture": () => new Response(new Blob(["jpeg"])),
      "POST devices/dv1/adopt": () => { device = deviceOf({ state: "adopted", parts: [{ ...PART, adopted_as: "lobby" }, EYE] }); return json(device, 201); },
    });
    const eye = await screen.findByRole("group", { name: "Camera Eye" });
    say();
    fireEvent.click(within(eye).getByRole("button", { name: "Look once" }));
    expect((await screen.findByRole("img", { name: /faces unrecognisable/ })).getAttribute("src")).toBe("blob:look");
    const front = screen.getByRole("group", { name: "Door Front" });
    fireEvent.click(within(front).getByRole("button", { name: "Unlock once" }));
    await within(front).findByText("The device refused: the device refused");
    fireEvent.change(within(front).getByLabelText("Name once adopted"), { target: { value: " Lobby " } });
    const adopting = within(front).getByRole("button", { name: /Adopt$/ });
    await waitFor(() => { expect(adopting.className).not.toContain("loading"); });
    fireEvent.click(adopting);
    await screen.findByText("Adopted as lobby");
    expect(asked.find(({ call }) => call === "POST devices/dv1/adopt")?.body).toEqual({ part: "front", name: "Lobby" });
    expect(screen.queryByRole("button", { name: "Do not show it again" }), "it serves a door").toBeNull();
  });

  it("says what failed, and that the session ended", async () => {
    const opened = open("devices", { ...EDGES, "GET devices": () => json({ detail: "gone" }, 401) });
    await waitFor(() => { expect(opened.expired()).toBe(1); });
    opened.unmount();
    open("devices", {
      ...EDGES, "GET devices": () => json({ items: [] }), "POST devices/discover": () => json(orderOf({ state: "expired", reason: "no_answer" }), 202),
    });
    await screen.findByText("No device was found yet");
    say();
    fireEvent.click(await idle(/Search$/));
    expect((await screen.findByRole("alert")).textContent).toContain("no answer");
  });

  it("says in words of its own what stops a device and what it has, and unknown words as they come", async () => {
    open("devices", {
      ...EDGES,
      "GET devices": () => json({ items: [deviceOf({ trouble: "credentials", code: "wrong_login", detail: "no" }), deviceOf({ id: "dv2", trouble: "haunted", code: "ghost", detail: "it wails", parts: [] })] }),
    });
    await screen.findByText("wrong user or password");
    expect(document.querySelector("[data-device=dv1]")?.textContent).toContain("door contact, whistle");
    expect(document.querySelector("[data-device=dv2]")?.textContent).toContain("haunted it wails");
  });

  it("tells which wires were not searched to their end", async () => {
    open("devices", {
      ...EDGES, "GET devices": () => json({ items: [] }),
      "POST devices/discover": () => json(orderOf({ state: "confirmed", notes: [{ wire: "mqtt", code: "broker_away", detail: "x" }, { wire: "zig", code: "", detail: "no stick" }] }), 202),
    });
    await screen.findByText("No device was found yet");
    say();
    fireEvent.click(await idle(/Search$/));
    await screen.findByText("MQTT: the broker cannot be reached");
    expect(screen.getByText("zig: no stick")).toBeTruthy();
  });

  it("asks a stream's address by hand, takes pasted credentials apart, and refuses what is none", async () => {
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: [] }), "POST devices/probe": () => json(orderOf({ state: "confirmed", devices: ["dv1"] }), 202),
    });
    await screen.findByText("No device was found yet");
    say();
    fireEvent.click(screen.getByRole("tab", { name: "Ask one address" }));
    const address = screen.getByLabelText("Address");
    fireEvent.change(address, { target: { value: "http://x" } });
    fireEvent.click(await idle(/Ask the device/));
    expect((await screen.findByRole("alert")).textContent).toContain("no address of a stream");
    fireEvent.change(address, { target: { value: "rtsp://eye:p%40ss@192.0.2.9:8554/main" } });
    fireEvent.click(await idle(/Ask the device/));
    await screen.findByText("Asked: 1 device, first in the list below");
    expect(asked.find(({ call }) => call === "POST devices/probe")?.body).toEqual({
      edge_id: "edge-1", wire: "rtsp", address: "rtsp://192.0.2.9:8554/main", user: "eye", password: "p@ss",
    });
    expect(address, "no password stays on the page").toHaveProperty("value", "rtsp://192.0.2.9:8554/main");
  });

  it("lets another device take over under the same id, and offers a removed one again", async () => {
    const old = deviceOf({ state: "adopted", serial: "old", parts: [{ ...PART, adopted_as: "lobby" }, { ...EYE, adopted_as: "eye-7" }] });
    const fresh = deviceOf({ id: "dv2", serial: "new", parts: [{ ...PART, id: "back" }, PART, { ...EYE, id: "eye-b" }] });
    const gone = deviceOf({ id: "dv3", state: "removed", serial: "gone" });
    const lists = [[old, fresh], [old, fresh], [old, fresh], [gone]];
    const { asked } = open("devices", {
      ...EDGES, "GET devices": () => json({ items: lists.shift() ?? [] }), "POST devices/dv1/replace": () => json(fresh), "POST devices/dv3/offer": () => json(gone),
    });
    fireEvent.click(await screen.findByRole("button", { name: "Replace" }));
    say();
    fireEvent.mouseDown(screen.getByLabelText("Which device takes over"));
    fireEvent.click(await screen.findByText("M X1 new", { selector: ".ant-select-item-option-content" }));
    expect(await screen.findByLabelText("Door Front (lobby) becomes")).toBeTruthy();
    expect(screen.getByLabelText("Camera Eye (East eye) becomes")).toBeTruthy();
    fireEvent.click(screen.getByRole("button", { name: /Let it take over$/ }));
    await waitFor(() => { expect(asked.find(({ call }) => call === "POST devices/dv1/replace")?.body).toEqual({ by: "dv2", parts: { front: "front", eye: "eye-b" } }); });
    fireEvent.click(screen.getByRole("checkbox", { name: "Show removed devices" }));
    fireEvent.click(await idle(/Offer again$/));
    expect(asked.filter(({ call }) => call === "GET devices").map(({ query }) => query)).toContain("state=removed");
    await waitFor(() => { expect(asked.some(({ call }) => call === "POST devices/dv3/offer")).toBe(true); });
  });

  describe("a card reader", () => {
    const readerOf = (change: Partial<Device> = {}): Device => deviceOf({ wire: "osdp", address: "/dev/ttyUSB0#1", parts: [READER], ...change });

    it("is tried and adopted with its side, the output of the lock and its inputs, its own output unless somebody says another", async () => {
      let device = readerOf();
      const { asked } = open("devices", {
        ...EDGES, "GET devices": () => json({ items: [device] }), "POST devices/dv1/try": () => json(orderOf({ state: "confirmed" }), 202),
        "POST devices/dv1/adopt": () => { device = readerOf({ state: "adopted", parts: [{ ...READER, adopted_as: "lobby" }] }); return json(device, 201); },
      });
      await screen.findByRole("group", { name: "Door reader 1" });
      say();
      expect(screen.getByLabelText("Output of the lock")).toHaveProperty("value", "0");
      expect(screen.queryByLabelText("Reader of"), "no door to join").toBeNull();
      fireEvent.change(screen.getByLabelText("Input of the door contact"), { target: { value: "0" } });
      fireEvent.change(screen.getByLabelText("Input of the exit button"), { target: { value: "1" } });
      fireEvent.click(screen.getByRole("checkbox", { name: "Input of the door contact: reversed" }));
      fireEvent.click(await idle(/Unlock once/));
      await screen.findByText("The device confirmed");
      fireEvent.click(await idle(/Adopt$/));
      await screen.findByText("Adopted as lobby");
      const bodies = asked.filter(({ call }) => call.startsWith("POST")).map(({ body }) => body);
      expect(bodies).toEqual([
        { part: "1", act: "unlock", strike: 0 },
        { part: "1", name: "reader 1", wiring: { side: "in", strike: 0, inputs: { open: 0, exit: 1, inverted: [0] } } },
      ]);
      expect(screen.queryByLabelText("Output of the lock"), "it stands at its door").toBeNull();
    });

    it("joins a door of its line on the other side, where the lock stays on the other reader", async () => {
      const other = readerOf({ id: "dv2", state: "adopted", address: "/dev/ttyUSB0#0", parts: [{ ...READER, id: "0", adopted_as: "d1" }] });
      const apart = readerOf({ id: "dv3", state: "adopted", address: "/dev/ttyUSB1#0", parts: [{ ...READER, id: "0", adopted_as: "d7" }] });
      const { asked } = open("devices", { ...EDGES, "GET devices": () => json({ items: [readerOf(), other, apart] }), "POST devices/dv1/adopt": () => json({ detail: "x", reason: "side_taken" }, 409) });
      fireEvent.mouseDown(await screen.findByLabelText("Reader of"));
      say();
      expect(screen.queryByText("d7"), "on another line").toBeNull();
      fireEvent.click(await screen.findByText("East gate", { selector: ".ant-select-item-option-content" }));
      fireEvent.mouseDown(screen.getByLabelText("Side of the door"));
      fireEvent.click(await screen.findByText("inside: to go out", { selector: ".ant-select-item-option-content" }));
      expect(screen.getByText("The lock stays on the door's other reader.")).toBeTruthy();
      fireEvent.click(await idle(/Adopt$/));
      await waitFor(() => { expect(asked.find(({ call }) => call === "POST devices/dv1/adopt")?.body).toEqual({ part: "1", name: "reader 1", wiring: { side: "out", strike: null, inputs: {} }, door_id: "d1" }); });
      expect((await screen.findByRole("alert")).textContent).toContain("the door has a reader on that side");
    });

    it("says that it lacks a key, and is given one by a second click and with a reason", async () => {
      let device = readerOf({ reach: "answers", has_credentials: false });
      const { asked } = open("devices", {
        ...EDGES, "GET devices": () => json({ items: [device] }),
        "POST devices/dv1/key": () => {
          const refused = asked.filter(({ call }) => call === "POST devices/dv1/key").length === 1;
          if (!refused) device = readerOf();
          return json(refused ? orderOf({ state: "refused", reason: "in_use" }) : orderOf({ state: "confirmed" }), 202);
        },
      });
      await screen.findByText(/no key of its own/);
      expect((await idle(/Install a key/) as HTMLButtonElement).disabled, "no reason yet").toBe(true);
      say();
      fireEvent.click(await idle(/Install a key/));
      expect(asked.map(({ call }) => call)).not.toContain("POST devices/dv1/key");
      fireEvent.click(await idle(/Install it now/));
      expect((await screen.findByRole("alert")).textContent).toContain("the line is in use");
      fireEvent.click(screen.getByRole("checkbox", { name: /may stand still/ }));
      fireEvent.click(await idle(/Install it now/));
      await waitFor(() => { expect(screen.queryByText(/no key of its own/)).toBeNull(); });
      expect(asked.filter(({ call }) => call === "POST devices/dv1/key").map(({ body }) => body)).toEqual([{ pause: false }, { pause: true }]);
    });
  });
});
