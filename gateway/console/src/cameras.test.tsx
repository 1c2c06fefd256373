import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";

import { cameraOf } from "./samples";
import { CATALOGUES, Text } from "./text/language";
import { CameraPanel } from "./views/CameraPanel";

afterEach(cleanup);

describe("the list of cameras", () => {
  it("shows what is wrong with a picture, and why a stream is off", () => {
    const cameras = [
      cameraOf({ id: "c1", name: "A fine", detail: "live", registered: true }),
      cameraOf({ id: "c2", name: "B covered", detail: "covered, frozen", registered: true }),
      cameraOf({ id: "c3", name: "C gone", state: "lost", detail: "covered", trouble: "covered", registered: true }),
      cameraOf({ id: "c4", name: "D new", state: "unknown", registered: false }),
    ];
    render(<Text value={CATALOGUES.en}><CameraPanel known cameras={new Map(cameras.map((camera) => [camera.id, camera]))} /></Text>);
    const rows = screen.getAllByRole("listitem").map((row) => row.textContent);
    expect(rows).toEqual(["B coveredCoveredPicture frozenOnline", "C goneCoveredOffline", "D newUnknownNot registered: its stream stays off", "A fineOnline"]);
    expect(screen.getAllByText("Online").map((mark) => mark.className)).toEqual(["mark mark-calm", "mark mark-good"]);
  });
});
