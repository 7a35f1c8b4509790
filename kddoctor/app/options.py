"""How Streamlit is set up: on loopback, without telemetry or questions, in kddoctor's colours.

``.streamlit/config.toml`` says the same for those who start the script themselves; a test holds the two together.
"""

from collections.abc import Mapping

from kddoctor.app.palette import DARK, LIGHT

OPTIONS: Mapping[str, object] = {
    "server.address": "127.0.0.1",
    # Any other Host header is refused: a web page must not reach the app by rebinding its own name to loopback.
    "server.allowedHosts": ["localhost", "127.0.0.1"],
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "theme.baseRadius": "0.4rem",
    "theme.light.primaryColor": "#00598A",
    # Streamlit's own captions are a grey that too few people can read.
    "theme.light.textColor": "#111111",
    "theme.light.linkColor": "#00598A",
    "theme.light.chartCategoricalColors": list(LIGHT.series),
    "theme.dark.primaryColor": "#56B4E9",
    "theme.dark.linkColor": "#56B4E9",
    "theme.dark.chartCategoricalColors": list(DARK.series),
}
