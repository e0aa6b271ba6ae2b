"""The one command, ``spanledger``: composes the other parts and hosts their listeners."""
