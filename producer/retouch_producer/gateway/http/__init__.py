"""What all routes share: authentication, errors, request bodies, pagination, limits, the OpenAPI description."""
