// What must not be missed: it is scrolled to when it appears, and takes no focus, since a card reader may be typing.
import type { ReactElement, ReactNode } from "react";
import { useEffect, useRef } from "react";

export function InView({ children }: { children: ReactNode }): ReactElement {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => { ref.current?.scrollIntoView({ block: "center" }); }, []);
  return <div ref={ref}>{children}</div>;
}
