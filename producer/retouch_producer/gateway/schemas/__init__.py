"""The gateway's schemas: request and response bodies, as OpenAPI describes them."""
