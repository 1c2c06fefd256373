// The time that the page draws with: it moves once a minute, enough to tell today from yesterday.
import { createContext, useContext, useEffect, useState } from "react";

const TURN_MS = 60_000;

export const Now = createContext(0);
export const useNow = (): number => useContext(Now);

/** Return the time (ms since the epoch), again every minute. */
export function useClock(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => { setNow(Date.now()); }, TURN_MS);
    return () => { clearInterval(timer); };
  }, []);
  return now;
}
