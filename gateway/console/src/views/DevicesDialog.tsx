// Finds devices by an edge or asks one address, shows each with the way that is left, and registers many cameras at once.
import { Checkbox, Empty, Select, Skeleton, Tabs } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useId, useState } from "react";

import type { Device, Edge } from "../devices";
import { devices, edges } from "../devices";
import { useText } from "../text/language";
import { AskByHand } from "./AskByHand";
import { DeviceCard } from "./DeviceCard";
import { Frame, page, useActing, Why } from "./Dialog";
import type { DialogProps } from "./Office";
import { RegisterPanel } from "./RegisterPanel";
import { SearchPanel } from "./SearchPanel";

const WIDTH_PX = 860;
/** Three words beside one another on a telephone. */
const GUTTER_PX = 16;
/** The gateway takes no shorter reason. */
export const WHY_LEAST = 2;

export function DevicesDialog({ gateway, doors, onExpired, onClose }: DialogProps): ReactElement {
  const text = useText().devices;
  const { failure, act } = useActing(onExpired, text.reason);
  const [known, setKnown] = useState<Edge[]>([]);
  const [edge, setEdge] = useState("");
  const [why, setWhy] = useState("");
  const [held, setHeld] = useState<Device[] | null>(null);
  const [cameras, setCameras] = useState<ReadonlyMap<string, string>>(new Map());
  const [removed, setRemoved] = useState(false);
  const [tab, setTab] = useState("find");
  const edgeId = useId();
  const load = useCallback(async () => {
    setHeld(await devices(gateway, removed));
    setCameras(new Map((await gateway.cameras()).map(({ id, name }) => [id, name])));
  }, [gateway, removed]);
  useEffect(() => {
    void act(async () => {
      const found = await edges(gateway);
      setKnown(found);
      setEdge((chosen) => chosen || (found[0]?.id ?? ""));
    });
  }, [act, gateway]);
  useEffect(() => { void act(load); }, [act, load]);
  const unsaid = why.trim().length < WHY_LEAST;
  const called = (id: string): string => doors.get(id)?.name ?? cameras.get(id) ?? id;
  const asking = { gateway, onExpired, why, unsaid, onChange: load };
  const chooser = (
    <p className="at-door">
      <label htmlFor={edgeId}>{text.edge}</label>
      <Select id={edgeId} value={edge} getPopupContainer={page} options={known.map(({ id, name, online }) => ({ value: id, label: `${name}${online ? "" : text.away}` }))} onChange={setEdge} />
    </p>
  );
  const tabs = [
    { key: "find", label: text.tabs.find, children: <div className="office">{chooser}<SearchPanel {...asking} edge={edge} /></div> },
    { key: "hand", label: text.tabs.hand, children: <div className="office">{chooser}<AskByHand {...asking} edge={edge} /></div> },
    { key: "register", label: text.register.tab, children: <RegisterPanel {...{ gateway, onExpired, why, unsaid }} /> },
  ];
  return (
    <Frame title={text.title} width={WIDTH_PX} onClose={onClose} failure={failure}>
      <p className="hint">{text.help}</p>
      <Why value={why} onChange={setWhy} />
      {unsaid && <p role="status">{text.sayWhy}</p>}
      <Tabs items={tabs} activeKey={tab} onChange={setTab} destroyOnHidden tabBarGutter={GUTTER_PX} getPopupContainer={page} />
      {tab !== "register" && (
        <>
          <Checkbox checked={removed} onChange={(event) => { setRemoved(event.target.checked); }}>{text.showRemoved}</Checkbox>
          {held === null && failure === null && <Skeleton active />}
          {held !== null && <p role="status">{held.length === 0 ? "" : text.found(held.length)}</p>}
          {held?.length === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.none} />}
          <ul className="devices">
            {held?.map((each) => <DeviceCard key={each.id} device={each} {...asking} others={held} edges={known} called={called} />)}
          </ul>
        </>
      )}
    </Frame>
  );
}
