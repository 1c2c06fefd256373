// Finds devices by an edge, and shows each with the way that is left until it is a door or camera here.
import { Button, Empty, Input, Select, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useId, useState } from "react";

import type { Device, Edge } from "../devices";
import { devices, edges, search } from "../devices";
import { useText, worded } from "../text/language";
import { DeviceCard } from "./DeviceCard";
import { Frame, page, useActing, Why } from "./Dialog";
import type { DialogProps } from "./Office";

const WIDTH_PX = 860;
const NETWORKS_MOST = 500;
/** The gateway takes no shorter reason. */
export const WHY_LEAST = 2;

export function DevicesDialog({ gateway, onExpired, onClose }: DialogProps): ReactElement {
  const text = useText().devices;
  const { busy, failure, say, act } = useActing(onExpired, text.reason);
  const [known, setKnown] = useState<Edge[]>([]);
  const [edge, setEdge] = useState("");
  const [networks, setNetworks] = useState("");
  const [why, setWhy] = useState("");
  const [held, setHeld] = useState<Device[] | null>(null);
  const ids = { edge: useId(), networks: useId() };
  const load = useCallback(async () => { setHeld(await devices(gateway)); }, [gateway]);
  useEffect(() => {
    void act(async () => {
      const found = await edges(gateway);
      setKnown(found);
      setEdge((chosen) => chosen || (found[0]?.id ?? ""));
      await load();
    });
  }, [act, gateway, load]);
  const unsaid = why.trim().length < WHY_LEAST;
  const look = (): void => {
    void act(async () => {
      const order = await search(gateway, edge, { networks: networks.split(/[\s,;]+/).filter(Boolean), why: why.trim() });
      await load();
      if (order.state !== "confirmed") say(order.detail !== "" ? order.detail : worded(text.reason, order.reason));
    });
  };
  const searching = <Button key="search" type="primary" loading={busy} disabled={edge === "" || unsaid} onClick={look}>{busy ? text.searching : text.search}</Button>;
  return (
    <Frame title={text.title} width={WIDTH_PX} onClose={onClose} failure={failure} footer={searching}>
      <p className="hint">{text.help}</p>
      <Why value={why} onChange={setWhy} />
      <p className="at-door">
        <label htmlFor={ids.edge}>{text.edge}</label>
        <Select id={ids.edge} value={edge} getPopupContainer={page} options={known.map(({ id, name, online }) => ({ value: id, label: `${name}${online ? "" : text.away}` }))} onChange={setEdge} />
      </p>
      <p className="why">
        <label htmlFor={ids.networks}>{text.networks}</label>
        <Input id={ids.networks} size="small" maxLength={NETWORKS_MOST} value={networks} placeholder={text.networksHelp} onChange={(event) => { setNetworks(event.target.value); }} />
      </p>
      {unsaid && <p role="status">{text.sayWhy}</p>}
      {held === null && failure === null && <Skeleton active />}
      {held !== null && <p role="status">{held.length === 0 ? "" : text.found(held.length)}</p>}
      {held?.length === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.none} />}
      <ul className="devices">
        {held?.map((each) => <DeviceCard key={each.id} device={each} {...{ gateway, onExpired, why, unsaid }} onChange={load} />)}
      </ul>
    </Frame>
  );
}
