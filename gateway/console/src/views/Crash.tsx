// Shows words instead of a white page if drawing fails; a silent white screen would be the worst console.
import { Alert as Banner, Button } from "antd";
import type { ReactElement, ReactNode } from "react";
import { Component } from "react";

import type { Catalogue } from "../text/zh";
import { Text } from "../text/language";

export class Crash extends Component<{ children: ReactNode }, { failed: boolean }> {
  static override contextType = Text;
  declare context: Catalogue;
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return <Failed text={this.context.crash} />;
  }
}

function Failed({ text }: { text: Catalogue["crash"] }): ReactElement {
  const reload = <Button type="primary" onClick={() => { location.reload(); }}>{text.reload}</Button>;
  return <Banner banner role="alert" type="error" title={text.title} description={text.detail} action={reload} />;
}
